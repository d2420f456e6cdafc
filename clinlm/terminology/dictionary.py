"""Terms from a delimited table, such as DrugBank's open vocabulary or the labels of the Disease Ontology."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

from clinlm.config.errors import ConfigError
from clinlm.files.delimited import scan_delimited
from clinlm.terminology.base import Term, TermSource


@final
class Dictionary(TermSource):
    """The cells of some columns of a CSV or TSV file with a header; each holds one term or several.

    Args:
        file: its name in the labeler's root, or a path; plain or .gz. See `clinlm.files.delimited` for the dialect.
        label: of all terms.
        columns: names as in the header.
        separator: of columns: `,`, `;` or a tab.
        delimiter: separates the terms within a cell, such as " | "; null where a cell is one term.

    Raises:
        ConfigError: no column, a string instead of a list, or an empty delimiter.
    """

    def __init__(
        self, file: str | Path, label: str, columns: Sequence[str], separator: str = ",", delimiter: str | None = None
    ) -> None:
        if isinstance(columns, str) or not columns:
            raise ConfigError(f"columns must be a list of at least one name, got {columns!r}; set [name]")
        if delimiter == "":
            raise ConfigError("delimiter must not be empty; set null where a cell is one term")
        self.file, self.label, self.columns = Path(file), label, tuple(columns)
        self.separator, self.delimiter = separator, delimiter

    def files(self, root: Path) -> Sequence[Path]:
        return (root / self.file,)

    def read(self, root: Path) -> Iterator[Term]:
        for row in scan_delimited(root / self.file, self.columns, self.separator).collect().iter_rows():
            for cell in row:
                for term in (cell or "").split(self.delimiter) if self.delimiter else (cell or "",):
                    if term.strip():
                        yield Term(term.strip(), self.label)
