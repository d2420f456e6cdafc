"""Read 50,000 synthetic admissions, build the task and tokenise it; print the largest resident memory and the times.

python benchmarks/corpus_memory.py [PATIENTS]
"""

import functools
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

from clinlm.corpora.synthetic.synthetic import Synthetic
from clinlm.models.initializers.scratch import Scratch
from clinlm.models.peak_memory import peak_mib
from clinlm.tasks.data import TaskData
from clinlm.tasks.multilabel import MultiLabel
from clinlm.text.long_notes import Head

CONFIG = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


def main() -> None:
    """Measure, in one process: what is resident at the peak is what a user's machine must hold."""
    patients = int(sys.argv[1]) if len(sys.argv) > 1 else 33_400
    with tempfile.TemporaryDirectory() as scratch:
        began = time.monotonic()
        # In another process, so that generating leaves no memory behind in this one.
        writer = multiprocessing.get_context("spawn").Process(target=write, args=(f"{scratch}/corpus", patients))
        writer.start()
        writer.join()
        written, size = time.monotonic(), sum(p.stat().st_size for p in Path(scratch).rglob("*.csv"))
        before = peak_mib()
        maker = functools.partial(Synthetic, patients=patients, style="full")
        task = MultiLabel(maker, f"{scratch}/corpus", Head(), labels=20, max_tokens=512)
        task.open(Path(scratch) / "store", "bench")
        facts, opened = task.examples.facts, time.monotonic()
        tokenizer = Scratch(CONFIG).begin(task, None).tokenizer
        TaskData(task, tokenizer, limit=512)
        ended = time.monotonic()
    if writer.exitcode:
        raise SystemExit(writer.exitcode)
    print(f"admissions with a label   {facts['documents_with_a_label']:,}")
    print(f"tables on disk            {size / 1e6:,.0f} MB, generated and read once in {written - began:.0f} s")
    print(f"read and task built in    {opened - written:.0f} s; tokenised in {ended - opened:.0f} s")
    print(f"peak resident memory      {peak_mib():,.0f} MiB (before reading: {before:,.0f})")


def write(root: str, patients: int) -> None:
    """Generate the tables."""
    Synthetic(root, patients=patients, style="full").records()


if __name__ == "__main__":
    main()
