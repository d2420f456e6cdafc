"""Where a checkpoint is, and what identifies its weights: known without opening it, and without importing torch."""

import importlib.util
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from clinlm.config.errors import ModelError
from clinlm.corpora.base import digest_files

CONFIG: Final = "adapter_config.json"
BASE: Final = "base_model_name_or_path"


@final
@dataclass(frozen=True)
class CheckpointPlace:
    """A folder, or the name of a repository of the hub. Attributes as the arguments of `Pretrained`."""

    name: str
    revision: str | None = None
    package: str | None = None

    @property
    def place(self) -> str:
        """The folder, in the package where that is installed; else the name."""
        if Path(self.name).is_dir() or self.package is None:
            return self.name
        package, _, folder = self.package.partition("/")
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            return self.name
        return str(Path(found.origin).parent / folder)

    def fingerprint(self) -> str:
        """Return a digest of the files of a folder, of an adapter with those of its base; else name and revision."""
        return _fingerprint(self.place, self.revision)


def _fingerprint(place: str, revision: str | None) -> str:
    folder = Path(place)
    if not folder.is_dir():
        return f"{place}@{revision}"
    own = digest_files(sorted(p for p in folder.rglob("*") if p.is_file()))
    return f"{own} {_fingerprint(*adapter_base(folder))}" if is_adapter(place) else own


def is_adapter(place: str) -> bool:
    """Return whether a place is a folder of peft."""
    return (Path(place) / CONFIG).is_file()


def adapter_base(folder: Path) -> tuple[str, str | None]:
    """Return the base of an adapter: a folder, or a hub name and its revision (None for the latest).

    A relative path is one from the adapter's folder, or else from the present one.

    Raises:
        ModelError: `adapter_config.json` is damaged or names no base, or the base is a path that does not exist.
    """
    content = adapter_settings(folder)
    name = content.get(BASE)
    if not isinstance(name, str) or not name:
        raise ModelError(f"{folder / CONFIG} must name the base of the adapter, it does not; set {BASE} in it")
    for place in (folder / name, Path(name)):
        with suppress(OSError):  # of a name too long for a file
            if place.is_dir():
                return str(place), None
    if Path(name).is_absolute() or name.startswith("."):
        raise ModelError(
            f"the base of the adapter {folder} must be on this machine, got {name}, which does not exist; copy it "
            f"there, or correct {BASE} in {CONFIG}"
        )
    return name, content.get("revision")


def adapter_settings(folder: Path) -> dict[str, Any]:
    """Return what `adapter_config.json` holds. Raises ModelError if it is damaged, or not peft's."""
    from clinlm.models.checkpoint_files import check_content

    check_content(folder / CONFIG)
    try:
        content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{folder / CONFIG} must be JSON, got a damaged file ({error}); copy it again") from error
    if not isinstance(content, dict) or "peft_type" not in content:
        raise ModelError(f"{folder / CONFIG} must be the configuration of an adapter of peft, it has no peft_type")
    return content
