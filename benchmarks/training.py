"""Core-seconds of training, everything in, against transformers' Trainer as it comes (benchmarks/peers).

python benchmarks/training.py [--notes NUMBER] [--rounds 3] [--epochs 3] [--layers 3] [--corpora notes handoffs]
                              [--set SETTING ...]

Fine-tuning of MiniLM-L6, and distillation of a student of its layers, by our defaults: from a table of notes (eight of
ten to train, one each for validation and test) to a model that is saved, with the predictions of test. In it are
reading, tokenising, the teacher's logits (once for all epochs; the peer asks its teacher in every step), validation and
saving after every epoch. Not in it are imports, and the memory that our stages measure in a process of their own.
Notes (MTSamples, or generated ones without it) are cut at 256 tokens, which nine of ten reach; handoffs, generated, of
about 50 tokens, at 96. The peer pads to that. Losses are those of the labels on test, which neither has seen. --set
changes our settings, such as 'training.short_rows={_target_: callbacks.short_rows.ShortRows, tokens: [64, 128]}'.
"""

import argparse
import csv
import json
import random
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from paired import Row, machine, minilm, notes, run, tell, used_s

from clinlm.corpora.synthetic.synthetic import Synthetic

PEER = Path(__file__).parent / "peers" / "plain_trainer.py"
CORPORA = {"notes": (256, 160), "handoffs": (96, 400)}
"""Corpus -> tokens that are read, and number of notes."""
DISTILLATION = ("pipeline=distillation", "distill=per_label")
Found = list[tuple[float, float]]
"""Core-seconds and loss of every round."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("notes", None), ("rounds", 3), ("epochs", 3), ("layers", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--corpora", nargs="+", choices=[*CORPORA], default=[*CORPORA])
    parser.add_argument("--set", nargs="+", default=[], metavar="SETTING")
    given = parser.parse_args()
    print(machine())
    rows = []
    for corpus in given.corpora:
        with tempfile.TemporaryDirectory() as scratch:
            found = measured(corpus, Path(scratch), given)
        documents = (given.notes or CORPORA[corpus][1]) * given.epochs * 8 // 10
        for work in ("fine-tuning", "distillation"):
            (theirs, lost), (ours, own) = (zip(*found[work, who], strict=True) for who in ("plain", "ours"))
            ms = [[1000 * seconds / documents for seconds in each] for each in (ours, theirs)]
            rows.append(Row.of(f"{work}, {corpus}", "Trainer, padded, float32", "ms/doc/epoch", *ms))
            print(f"{work}, {corpus}: loss on test {statistics.mean(own):.4f}, the peer's {statistics.mean(lost):.4f}")
    tell(rows)
    print(machine())


def measured(corpus: str, root: Path, given: argparse.Namespace) -> dict[tuple[str, str], Found]:
    """Return what every round cost, by work and by who does it."""
    table = root / "notes.csv"
    tokens, count = CORPORA[corpus]
    write(table, corpus, given.notes or count, root)
    found: dict[tuple[str, str], Found] = {}
    for seed in range(given.rounds):
        place = root / str(seed)
        own = ("--ours", str(place / "store"), str(table), f"task.max_tokens={tokens}", f"seed={seed}")
        own += (f"epochs={given.epochs}", *given.set)
        plain = {work: str(place / work) for work in ("fine-tuning", "distillation")}
        limits = (str(given.epochs), "0", str(tokens))
        commands = {
            ("fine-tuning", "plain"): (str(PEER), str(minilm()), str(table), plain["fine-tuning"], *limits),
            ("fine-tuning", "ours"): (__file__, *own, "pipeline=baseline"),
            ("distillation", "plain"): (
                *(str(PEER), plain["fine-tuning"], str(table), plain["distillation"]),
                *(limits[0], str(given.layers), limits[2]),
            ),
            ("distillation", "ours"): (__file__, *own, *DISTILLATION, f"student.layers={given.layers}"),
        }
        for what, command in commands.items():
            seconds, loss = json.loads(run(command).splitlines()[-1])
            found.setdefault(what, []).append((seconds, loss))
    return found


def write(path: Path, corpus: str, count: int, root: Path) -> None:
    """Write notes that have one of the ten most frequent labels, in random order, as a table with their split."""
    if corpus == "notes":
        _, texts, labels = notes()
    else:
        frame = Synthetic(root / "synthetic", patients=2 * count, style="handoff").records().frame
        texts, labels = frame["text"].to_list(), frame["labels"].to_list()
    names = {name for name, _ in Counter(label for own in labels for label in own).most_common(10)}
    kept = [(text, ";".join(sorted(names & {*own}))) for text, own in zip(texts, labels, strict=True) if names & {*own}]
    random.Random(0).shuffle(kept)
    parts = [{8: "val", 9: "test"}.get(number % 10, "train") for number in range(count)]
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = [("id", "text", "labels", "split")]
        lines += [(str(i), *note, part) for i, (note, part) in enumerate(zip(kept, parts, strict=False))]
        csv.writer(file).writerows(lines)


def ours(store: str, table: str, *overrides: str) -> None:
    """Train in this process, as the command `clinlm` does, and print core-seconds and loss of the last stage.

    What an earlier run in the same store has kept is built anew, but for a teacher's weights.
    """
    import torch._dynamo  # see the peer
    from hydra import compose, initialize_config_dir

    from clinlm.config.resolvers import register_resolvers
    from clinlm.config.runtime import keep_memory
    from clinlm.config.validation import CONF
    from clinlm.pipeline.execution import open_task, run_stages
    from clinlm.pipeline.plan import plan
    from clinlm.tracking.none import NullLogger

    for kept in (*Path(store).glob("task-*"), *Path(store).glob("*/logits")):
        shutil.rmtree(kept)
    keep_memory()
    register_resolvers()
    columns = [f"task.corpus.{name}={name}" for name in ("id", "labels", "split")]
    settings = ["task=table", f"task.root={table}", *columns, f"store={store}", "task.unlabelled=drop", *overrides]
    began = used_s()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", settings)
    task, key = open_task(config)
    last = run_stages(config, plan(config), task, key, NullLogger())[-1]
    seconds = used_s() - began
    targets = torch.from_numpy(task.examples.targets[task.examples.units("test")]).float()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.from_numpy(last.artifact.predictions("test")), targets
    )
    print(json.dumps([seconds, float(loss)]))


if __name__ == "__main__":
    arguments: Sequence[str] = sys.argv[1:]
    if arguments[:1] == ["--ours"]:
        ours(*arguments[1:])
    else:
        main()
