"""Generated tables in documents."""

import sys
from pathlib import Path

import pytest

from clinlm.report import readme

TEXT = "above\n<!-- a -->\nold\n<!-- /a -->\nbetween\n<!-- b -->\n<!-- /b -->\nbelow\n"


def test_only_what_stands_between_the_marks_changes() -> None:
    once = readme.filled(TEXT, "a", "| 1 |\n")
    assert once == TEXT.replace("old\n", "\n| 1 |\n\n")
    assert readme.filled(once, "a", "| 1 |") == once
    assert "\\1" in readme.filled(TEXT, "b", "\\1 is no group")


def test_a_document_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="one pair of marks"):
        readme.filled(TEXT, "c", "x")


def test_the_command_fills_several_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document, table = tmp_path / "README.md", tmp_path / "t.md"
    document.write_text(TEXT)
    table.write_text("| new |\n")
    monkeypatch.setattr(sys, "argv", ["readme", str(document), f"a={table}", f"b={table}"])
    readme.main()
    assert document.read_text().count("| new |") == 2
    assert "old" not in document.read_text()
