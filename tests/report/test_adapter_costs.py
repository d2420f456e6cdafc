"""Laws of the table of adapters: a line for every stage that trained, with what its artifact tells."""

from pathlib import Path
from typing import Any

from clinlm.metrics.bootstrap import Interval
from clinlm.report.adapters import NAME, adapter_rows, write_adapters
from clinlm.report.results import Lineage, ModelResult
from clinlm.store.content import seal, write_json

QUALITY: dict[str, Any] = {"quality": {"macro_f1": 0.5}, "intervals": {"macro_f1": Interval(0.5, 0.4, 0.6)}}


def result(place: Path, adapter: str, **trained: float | None) -> ModelResult:
    name, folder = place.name, place.with_name(f"{place.name}-key")
    folder.mkdir()
    write_json(folder / "report.json", {"parameters": 1000, **trained})
    target = {"_target_": f"clinlm.models.adapters.{adapter}.{adapter.capitalize()}"}
    seal(folder, {"key": "key", "stage": name, "settings": {"adapter": target}})
    return ModelResult(name, "stage", seconds=12.3, lineage=Lineage(folder=str(folder)), **QUALITY)


def test_what_trained_has_a_line(tmp_path: Path) -> None:
    results = [
        ModelResult("TF-IDF", "baseline"),
        result(tmp_path / "teacher", "full", trainable=1000, training_peak_mib=321.4),
        result(tmp_path / "prune", "full"),
        result(tmp_path / "student", "lora", trainable=25, training_peak_mib=None),
    ]
    header, lines = adapter_rows(results, "macro_f1")
    assert [line[:4] for line in lines] == [["teacher", "full", "1,000", "100.00"], ["student", "lora", "25", "2.50"]]
    assert [line[-1] for line in lines] == ["321", "–"] and all("50.00 (40.0–60.0)" in line for line in lines)
    table, written = write_adapters(results, "macro_f1", tmp_path), (tmp_path / f"{NAME}.md").read_text()
    assert table.row_count == 2 and all(cell in written for cell in (*header, *lines[0], *lines[1]))
