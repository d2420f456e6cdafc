"""Terms from RxNorm's RXNCONSO.RRF, or the MRCONSO.RRF of the UMLS, which has the same columns."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

from clinlm.config.errors import ConfigError
from clinlm.terminology.base import Term, TermSource, read_cells

_COLUMNS = "RXCUI LAT TS LUI STT SUI ISPREF RXAUI SAUI SCUI SDUI SAB TTY CODE STR SRL SUPPRESS CVF".split()
_LAT, _SAB, _TTY, _STR, _SUPPRESS = (_COLUMNS.index(name) for name in ("LAT", "SAB", "TTY", "STR", "SUPPRESS"))


@final
class Rxnconso(TermSource):
    """The strings (STR) of the rows that pass all filters; a filter lists the values of a column to keep.

    Source: RxNorm Technical Documentation, section 12.4, Concept names and sources. No quotes, no header, a `|` after
    every cell.

    Args:
        file: its name in the labeler's root, or a path; plain or .gz.
        label: of all terms.
        sab: abbreviated sources, such as RXNORM, MTHSPL.
        tty: term types. IN, PIN, MIN and BN (ingredients and brand names) are what notes write; those with strength
            and form (SCD, SBD, ...) hardly ever occur in a text.
        suppress: N is not suppressed; O obsolete, Y and E suppressed.
        lat: languages; RxNorm has ENG only, MRCONSO many.

    Raises:
        ConfigError: a filter is a string instead of a list.
    """

    def __init__(
        self,
        file: str | Path,
        label: str,
        sab: Sequence[str] | None = None,
        tty: Sequence[str] | None = None,
        suppress: Sequence[str] | None = ("N",),
        lat: Sequence[str] | None = ("ENG",),
    ) -> None:
        for name, values in (("sab", sab), ("tty", tty), ("suppress", suppress), ("lat", lat)):
            if isinstance(values, str):
                raise ConfigError(f"{name} must be a list of values, got {values!r}; set [{values}]")
        self.file, self.label = Path(file), label
        self.sab, self.tty, self.suppress, self.lat = map(_tuple_or_none, (sab, tty, suppress, lat))

    def files(self, root: Path) -> Sequence[Path]:
        return (root / self.file,)

    def read(self, root: Path) -> Iterator[Term]:
        filters = ((_SAB, self.sab), (_TTY, self.tty), (_SUPPRESS, self.suppress), (_LAT, self.lat))
        kept = [(column, frozenset(values)) for column, values in filters if values is not None]
        for cells in read_cells(root / self.file, "|", len(_COLUMNS) + 1):
            if all(cells[column] in values for column, values in kept):
                yield Term(cells[_STR].strip(), self.label)


def _tuple_or_none(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
