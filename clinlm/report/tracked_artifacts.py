"""Lineage as a dashboard takes it: artifacts of the store with their parents, by fingerprint, never text."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from clinlm.models.artifact import NOT_DEPLOYED, Artifact
from clinlm.pipeline.run_record import RunRecord
from clinlm.report.results import ModelResult
from clinlm.store.content import RECORD, read_record, verified
from clinlm.tracking.base import TrackedArtifact


def corpus_artifact(run: RunRecord) -> TrackedArtifact:
    """Return the documents of a run's task: the fingerprint that its key is of, and counts."""
    facts = {"key": run.task.key, **run.task.facts, "settings": dict(run.task.settings)}
    return TrackedArtifact(f"corpus-{run.task.key}", "corpus", facts)


def stage_artifact(folder: Path) -> TrackedArtifact:
    """Return the artifact of a stage: key, stage, parents and size, and the digests of what running it needs."""
    artifact = Artifact(verified(folder))
    record, report = artifact.record, artifact.report
    facts = {name: record.get(name) for name in ("key", "stage", "parents", "task")}
    facts |= {name: report.get(name) for name in ("parameters", "nonzero", "bytes", "seconds", "epochs", "role")}
    digests = {name: own for name, own in record["files"].items() if name.partition("/")[0] not in NOT_DEPLOYED}
    return TrackedArtifact(folder.name, "model", facts, digests, folder)


def stage_parents(folder: Path, run: RunRecord) -> list[TrackedArtifact]:
    """Return what a stage began with: the corpus, its transfer set, the artifact it started from, and its teachers."""
    artifact = Artifact(verified(folder))
    parents = artifact.record.get("parents") or {}
    found = [corpus_artifact(run)]
    if transfer := artifact.report.get("transfer"):
        found += _stored(Path(run.store), [transfer["key"]], "transfer")
    keys = [key for key in (parents.get("start"), *parents.get("teachers", ())) if key]
    return found + _stored(Path(run.store), keys, "model")


def deployment_artifact(result: ModelResult) -> TrackedArtifact:
    """Return what an engine runs: its contents without measurements of the machine, and digests of its files."""
    folder = Path(result.deployment["folder"])
    facts = {name: own for name, own in result.deployment.items() if isinstance(own, int | float | str | bool)}
    files = read_record(folder).get("files", {}) if (folder / RECORD).is_file() else {}
    return TrackedArtifact(folder.name, "deployment", facts | {"engine": result.engine}, files, folder)


def distinct_artifacts(artifacts: Iterable[TrackedArtifact]) -> tuple[TrackedArtifact, ...]:
    """Return artifacts, each once."""
    return tuple({artifact.name: artifact for artifact in artifacts}.values())


def _stored(root: Path, keys: Iterable[str], kind: str) -> list[TrackedArtifact]:
    """Return the folders of the store that end in these keys."""
    found: list[TrackedArtifact] = []
    for key in keys:
        folders = [path for path in sorted(root.glob(f"*{key}")) if (path / RECORD).is_file()]
        for folder in folders[:1]:
            if (folder / "spec.json").is_file():
                found.append(stage_artifact(folder))
            else:  # texts made from notes, or a baseline with its vocabulary: never their files
                facts = _facts(read_record(folder)) | {"key": key}
                own: Literal["transfer", "baseline"] = "transfer" if kind == "transfer" else "baseline"
                found.append(TrackedArtifact(folder.name, own, facts, read_record(folder).get("files", {})))
    return found


def _facts(record: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: own for name, own in record.items() if name not in ("files", "digest")}
    return dict(json.loads(json.dumps(kept)))
