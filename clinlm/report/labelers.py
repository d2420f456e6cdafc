"""After a sweep over labelers: each labeler and what learned from it, against people, elsewhere, and what it takes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from clinlm.report.sweep import finished

NAME = "labelers"
"""Of the files, without ending."""


class LabelersTable(Callback):
    """Hydra's callback: when all jobs of a sweep over labelers are done, tell of all of them in one table."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print and write the table; without a finished job there is none.

        Raises:
            ValueError: as `clinlm.report.labeler_jobs.opened`.
        """
        folder = Path(config.hydra.sweep.dir)
        jobs = finished(folder)
        if jobs:
            tell(jobs, folder)


def tell(folders: Sequence[Path], folder: Path) -> None:
    """Print the table of the jobs in `folders`; write labelers.md, .json, .svg, .png and published.md into `folder`."""
    from hydra.utils import instantiate  # here, as what follows loads torch, and every job of a sweep loads this file

    from clinlm.config.console import make_console
    from clinlm.config.resolvers import register_resolvers
    from clinlm.report import entity_plot, labeler_published, labeler_text
    from clinlm.report.comparison import Settings
    from clinlm.report.labeler_jobs import opened
    from clinlm.report.labeler_lines import lines
    from clinlm.report.published import Published, side_by_side

    register_resolvers()
    jobs = opened(folders)
    settings: Settings = instantiate(jobs[0].config.report)
    found = lines(jobs, settings)
    console = make_console()
    console.print(labeler_text.render(found))
    labeler_text.write(jobs, found, folder, NAME)
    drawn = [labeler_text.named(one) for one in found]
    entity_plot.write(drawn, "Labelers and what learned from them, against people", folder, NAME)
    if settings.published is not None:
        published = Published.named(settings.published)
        rows = labeler_published.rows(found)
        if published.has(rows):
            table, markdown = side_by_side(rows, published)
            console.print(table)
            (folder / "published.md").write_text(markdown, encoding="utf-8")
    console.print(f"report     {folder / NAME}.md, .png", soft_wrap=True, markup=False)
