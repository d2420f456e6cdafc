"""The store of a run: a folder, and where the setting is a URL, its mirror there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from clinlm.config.errors import ConfigError
from clinlm.config.external import external_settings
from clinlm.config.settings import plain
from clinlm.config.store_url import STAGING, check_uploads, is_url
from clinlm.config.targets import instantiate


@contextmanager
def opened_store(config: DictConfig) -> Iterator[Path]:
    """Yield the folder of the store; of a URL that of `staging`, which then stands in `store`, too.

    Meanwhile what is complete goes to the URL, and comes from there; see `clinlm.store.url_mirror`.

    Raises:
        ConfigError: notes under an agreement that forbids passing on what is learnt from them; unknown settings.
        ServerError: the URL cannot be reached; at the end, not everything could be written there.
    """
    check_uploads(config)
    url = str(config.store)
    if not is_url(url):
        yield Path(url)
        return
    config.store = config.staging or STAGING  # before anything refers to it: task.root may
    _refuse_agreements(config, url)
    from clinlm.store.content import mirrored
    from clinlm.store.url_mirror import UrlMirror

    mirror = UrlMirror(url, Path(config.store), config.upload)
    with mirrored(mirror):
        yield mirror.root
    mirror.finish()


def _refuse_agreements(config: DictConfig, url: str) -> None:
    for name, settings in (("task", plain(config.task)), ("external", external_settings(config))):
        if settings is None:
            continue
        corpus = instantiate(settings["corpus"], root=settings["root"])()
        if not corpus.remote_allowed:
            raise ConfigError(
                f"store must be a folder for notes of {type(corpus).__name__} ({name}), which are under an agreement "
                f"that forbids passing on them and what is learnt from them, got {url}; set store=FOLDER (no setting "
                "lifts this)"
            )
    for name, stage in (config.get("stages") or {}).items():
        texts = stage.get("augmentation")
        if texts is not None and not instantiate(plain(texts)).released:
            raise ConfigError(
                f"store must be a folder for new texts (stages.{name}.augmentation) from notes under an agreement that "
                f"forbids passing on what is learnt from them, got {url}; set store=FOLDER (no setting lifts this)"
            )
