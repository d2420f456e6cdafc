"""Jobs of a sweep that did not finish, and the page of a sweep without a finished one."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from clinlm.report.sweep import FAILED, gate_message, unfinished_folders


def unfinished_jobs(folder: Path) -> list[dict[str, str]]:
    """Return number, settings and reason of every job of a sweep that began and did not finish, in order."""
    return [
        {"job": job.name, "settings": " ".join(_overrides(job)), "reason": _reason(job)}
        for job in sorted(unfinished_folders(folder), key=lambda job: (len(job.name), job.name))
    ]


def unfinished_contents(folder: Path) -> dict[str, Any]:
    """Return what the template needs for a sweep of which no job finished."""
    return {"name": folder.name, "empty": True, "failed": unfinished_jobs(folder), "title": f"Sweep {folder.name}"}


def _overrides(job: Path) -> list[str]:
    """Return the settings of a job: those that its command gave it."""
    return [str(own) for own in OmegaConf.load(job / ".hydra" / "overrides.yaml")]


def _reason(job: Path) -> str:
    """Return why a job did not finish, as far as it left it."""
    path = job / FAILED
    if path.is_file():
        return gate_message(path)
    return "no run.json: see the job's log, clinlm.log in its folder"
