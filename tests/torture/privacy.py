"""Names in notes, ids and patients, planted: none of them may be found outside of the store after any command."""

import csv
import gzip
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

from support.commands import PRUNED, ROOT, SMALL

from torture.forks import clinlm_run, forked
from torture.subjects import ontology
from torture.verdicts import Verdict

Run = Callable[[], None]
_TOLD_IDS: Final = ("answers", "labels.jsonl", "rejects", "disagreements.csv")
"""What is made to name notes by their ids."""
_TABLE: Final = (
    *(*SMALL, "task.corpus.text=text", "task.corpus.labels=labels", "task.corpus.attributes=[sex]"),
    "report.show=[gates,uncertainty,validation,methods,labels]",
)


class _Planted:
    """A table of notes of which every one has names, an id and a patient that nothing else has."""

    def __init__(self, place: Path) -> None:
        rng = random.Random(0)
        with (ROOT / "docs" / "notes.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self.names = {"".join(rng.choices("bcdfghjkqvwxz", k=9)) for _ in range(2 * len(rows))}
        names = sorted(self.names)
        self.table, self.lines = place / "notes.csv", place / "notes.jsonl"
        texts = [f"Mrs. {names[2 * n].title()} {row['note']} Call {names[2 * n + 1]}." for n, row in enumerate(rows)]
        with self.table.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "group", "text", "labels", "sex"])
            for number, (row, text) in enumerate(zip(rows, texts, strict=True)):
                people = f"zqgroup{row['patient']}q"
                writer.writerow([f"zqid{number}q", people, text, row["diagnoses"], "FM"[number % 2]])
        lines = [json.dumps({"id": f"zqid{number}q", "text": text}) for number, text in enumerate(texts[:60])]
        name = names[0]
        lines += [f'{{"{name}"', json.dumps(name), json.dumps({"id": 7, "text": [name]}), f'{{"text": "\\x {name}"}}']
        lines += [json.dumps({"id": {name: 1}, "text": name}), json.dumps({"id": f"{name}\n", "text": "a"})]
        self.lines.write_text("\n".join(lines), encoding="utf-8")
        (place / "broken.csv").write_text(
            f'id,group,text,labels\n1,2,"{name}",a\n3,4,"{name} {name}\n', encoding="utf-8"
        )
        (place / "wide.csv").write_text(f"id,group,text,labels\n1,2,{name},a,{name}\n{name},2\n", encoding="utf-8")
        twice = f"id,group,text,labels\n{name},2,{name},a\n{name},3,b,c\n"
        (place / "twice.csv").write_text(twice, encoding="utf-8")
        (place / "latin.csv").write_bytes(f"id,group,text,labels\n1,2,{name} \xe9,a\n".encode("latin-1"))
        (place / "terms.csv").write_text(f"name,more\n{name},\n", encoding="utf-8")
        self.pattern = re.compile("|".join([*names, r"zqid\d+q", r"zqgroup\d+q"]), re.I)


def _told(path: Path, planted: _Planted) -> set[str]:
    """Return the planted words in a file, compressed or not; ids are left out where they are asked for."""
    content = path.read_bytes()
    if path.name.endswith(".gz"):
        content = gzip.decompress(content)
    found = {word.lower() for word in planted.pattern.findall(content.decode("utf-8", "replace"))}
    allowed = any(name in path.name for name in _TOLD_IDS)
    return {word for word in found if not (allowed and word.startswith("zqid"))}


def _commands(given: Path, own: Path) -> dict[str, Run]:
    """Return the commands by name, in an order in which each finds what it needs."""
    store, run = own / "store", own / "run"

    def stage(name: str) -> Path:
        return next(iter(sorted(store.glob(f"{name}-*"))), store / name)

    def later(*words: object) -> Run:
        """Return a command whose words are found when it runs."""
        return lambda: clinlm_run(*(word() if callable(word) else word for word in words))()

    def pipeline(*words: str, table: str = "notes.csv", place: Path = run) -> Run:
        return clinlm_run(*_TABLE, f"task.root={given / table}", f"store={store}", f"hydra.run.dir={place}", *words)

    def predict(name: str, model: str, *words: object) -> Run:
        source = [f"input={given / 'notes.jsonl'}", f"output={own / 'out' / name}", "threads=1"]
        return later("predict", lambda: f"artifact={stage(model)}", *source, *words)

    def label(*words: str) -> Run:
        return clinlm_run("label", *ontology(given), f"store={store}", *words)

    def predictor() -> None:
        import polars as pl

        from clinlm.config.errors import ClinlmError
        from clinlm.predict import Predictor

        answered = Predictor(stage("student"))(pl.read_csv(given / "notes.csv", columns=["id", "text"]))
        print(answered.drop("id"))
        try:
            Predictor(stage("student"))(pl.read_csv(given / "notes.csv").rename({"text": "other"}))
        except ClinlmError as error:
            print(error)

    loggers = {f"logger={name}": pipeline(*_ALONE, f"logger={name}", f"seed={n}") for n, name in enumerate(_LOGGERS, 1)}
    return {
        "pipeline=cascade": pipeline("pipeline=cascade", *PRUNED[:1]),
        **loggers,
        "a sweep": clinlm_run(
            *("-m", *_TABLE, *_ALONE, f"task.root={given / 'notes.csv'}", f"store={store}", "seed=0,1"),
            f"hydra.sweep.dir={own / 'sweep'}",
        ),
        "resplits=2 nested=true": clinlm_run(
            *("-m", *_TABLE, *_ALONE, f"task.root={given / 'notes.csv'}", f"store={store}", "nested=true"),
            *("resplits=2", f"hydra.sweep.dir={own / 'nested'}"),
        ),
        "predict": predict("answers.csv", "student", "coverage=0.9"),
        "predict, a shadow": predict("answers2.jsonl", "student", lambda: f"shadow={stage('teacher')}"),
        "predict, a cascade": predict("answers3.jsonl", "cascade"),
        "predict, TF-IDF": predict("answers4.jsonl", "tfidf_int8"),
        "predict, another column": predict("answers6.jsonl", "student", "text=note"),
        "Predictor": predictor,
        "label": label(f"input={given / 'notes.jsonl'}", f"output={own / 'out' / 'labels.jsonl'}"),
        "label, a table that is broken": label(
            f"input={given / 'broken.csv'}", f"output={own / 'out' / 'broken.jsonl'}"
        ),
        "check": clinlm_run("check", f"input={given / 'notes.csv'}", "text=text", "labels=labels", "group=group"),
        "check, without settings": clinlm_run("check", f"input={given / 'notes.csv'}"),
        "check, lines": clinlm_run("check", f"input={given / 'notes.jsonl'}"),
        "show": clinlm_run("show", f"store={store}"),
        **{f"report {kind}": clinlm_run("report", kind, f"run={run}") for kind in ("html", "clinical", "hf")},
        **{
            f"report {kind} of a sweep": clinlm_run("report", kind, f"sweep={own / 'sweep'}") for kind in ("html", "hf")
        },
        "stress": clinlm_run("stress", f"run={run}", "documents=20", "resamples=20"),
        **{f"a {name} table": pipeline(table=f"{name}.csv", place=own / name) for name in _BAD},
        **{f"check, a {name} table": clinlm_run("check", f"input={given / f'{name}.csv'}") for name in _BAD},
        "a group that is a sentence": pipeline("task.corpus.labels=text", place=own / "sentence"),
        "labels that are ids": pipeline("task.corpus.labels=[id]", place=own / "ids"),
        "a key that is no column": pipeline("task.corpus.group=patient", place=own / "key"),
        "engine=onnxruntime": pipeline(*_ALONE, "engine=onnxruntime", place=own / "exported"),
        "predict, a deployment": predict("answers5.jsonl", "teacher-onnxruntime"),
    }


_LOGGERS: Final = ("wandb", "tensorboard")
_ALONE: Final = ("pipeline=baseline",)
_BAD: Final = ("broken", "wide", "twice", "latin")


@cache
def _installed(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


def privacy(place: Path, count: int, rng: random.Random) -> Iterator[Verdict]:
    """Run the first `count` commands on planted notes, and look for these everywhere but in the store."""
    given, own = place / "given", place / "own"
    places = [own / name for name in ("home", "tmp", "out", "printed")]
    for folder in (given, *places):
        folder.mkdir(parents=True)
    planted = _Planted(given)
    seen = dict[Path, int]()
    for name, run in list(_commands(given, own).items())[:count]:
        if name.startswith("logger=tensorboard") and not _installed("tensorboard"):
            continue

        def with_home(run: Run = run) -> None:
            os.environ |= {"HOME": str(own / "home"), "TMPDIR": str(own / "tmp"), "XDG_CACHE_HOME": str(own / "home")}
            run()

        ended = forked(with_home, own / "printed")
        found = {}
        for path in [path for path in sorted(own.rglob("*")) if path.is_file() and not path.is_symlink()]:
            public = (own / "store") not in path.parents or (path.parent / "deployment.json").exists()
            if public and seen.get(path) != path.stat().st_mtime_ns:
                seen[path] = path.stat().st_mtime_ns
                if words := _told(path, planted):
                    found[str(path.relative_to(own))] = sorted(words)[:3]
        told = f"{found}\n{ended.told}"
        if found or ended.broken:
            yield Verdict(name, ended.broken or "told", False, told)
        else:
            outcome = "nothing found" if ended.status == 0 else "refused, and nothing found"
            yield Verdict(name, outcome, True)
    shutil.rmtree(own)
