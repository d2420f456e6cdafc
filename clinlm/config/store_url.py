"""A store that is a URL: what is made from notes leaves the machine, so only the command line can ask for it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from clinlm.config.errors import ConfigError
from clinlm.config.ranges import check_choice

if TYPE_CHECKING:  # `clinlm store` imports no OmegaConf
    from omegaconf import DictConfig

MODELS: Final = "models"
UPLOADS: Final = (MODELS, "notes", "none")
"""What may be written to a store that is a URL: models; models, and what holds notes; nothing."""
STAGING: Final = "outputs/store"
"""The folder of a store that is a URL."""


def is_url(store: Any) -> bool:
    """Return whether a setting `store` names no folder: `s3://bucket/prefix`."""
    return "://" in str(store)


def check_uploads(config: "DictConfig") -> None:
    """Check the settings that go with `store`.

    Raises:
        ConfigError: an unknown value, or one that goes with a URL only.
    """
    check_choice("upload", config.upload, UPLOADS)
    store, staging = config.store, config.staging
    if not is_url(store):
        for name, value, absent in (("upload", config.upload, MODELS), ("staging", staging, None)):
            if value != absent:
                raise ConfigError(
                    f"{name} must be set with a store that is a URL, got {name}={value} with store={store}; leave it "
                    "out, or set store=s3://BUCKET/PREFIX"
                )
        return
    check_url(store, staging)


def check_url(store: str, staging: str | None) -> None:
    """Check a store that is a URL, and its folder.

    Raises:
        ConfigError: the URL has a name or a password, or the folder is a URL, too.
    """
    if is_url(staging) or "@" in str(store).partition("://")[2].partition("/")[0]:
        raise ConfigError(
            f"store must be a URL without a name and password, and staging a folder, got store={_shown(store)} "
            f"staging={_shown(staging)}; the library of the protocol finds keys by itself (AWS_PROFILE, ~/.aws)"
        )


def refuse_untyped_uploads(config: "DictConfig", overrides: Iterable[str], whole: "DictConfig | None" = None) -> None:
    """Raise ConfigError unless a store that is a URL, and what is written there, are set on the command line.

    Args:
        overrides: the command line, or that of a job.
        whole: the configuration of the sweep that it is a job of, in which all jobs are alike.
    """
    typed = {word.lstrip("+").partition("=")[0] for word in overrides}
    for name in ("store", "upload"):
        value = config.get(name)
        leaves = is_url(value) if name == "store" else value not in (None, MODELS)
        if leaves and (name not in typed or (whole is not None and whole.get(name) != value)):
            raise ConfigError(
                f"{name}={_shown(value)} must be typed on the command line, for all jobs of a sweep alike, since what "
                "is made from notes leaves this machine; a yaml, or a single job, sets it"
            )


def _shown(value: Any) -> str:
    """Return a URL without what may be a password."""
    scheme, separator, rest = str(value).partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"
