"""NOTEEVENTS of the real shape, from CSV to a tokenised task: the largest memory of all processes, and seconds.

python benchmarks/noteevents.py [SHARE] [kill]

Tables with the numbers of rows, and the lengths of notes by category, of MIMIC-III are generated: 2,083,180 notes of
about 4 GB at SHARE 1. The words are drawn and say nothing. Then `task=mimic3_diagnoses task.documents=null` is opened
and tokenised with the word pieces of MiniLM, in a process whose memory, with that of all processes that it starts, is
looked at every 20 ms: anonymous memory (what must fit) and resident memory (with the pages of mapped files, which the
system may drop). `kill` first starts it ten times and ends it by SIGKILL, later every time, and compares the digests of
what the last one leaves with those of an undisturbed one.
"""

import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from paired import machine

CATEGORIES = {
    "Nursing/other": (822_497, 1150),
    "Radiology": (522_279, 1750),
    "Nursing": (223_556, 1650),
    "ECG": (209_051, 200),
    "Physician ": (141_624, 6200),
    "Discharge summary": (59_652, 9600),
    "Echo": (45_794, 2300),
    "Respiratory ": (31_739, 1300),
    "Nutrition": (9_418, 2300),
    "General": (8_301, 1300),
    "Rehab Services": (5_431, 2600),
    "Social Work": (2_670, 1900),
    "Case Management ": (967, 1100),
    "Pharmacy": (103, 1600),
    "Consult": (98, 4400),
}
"""Notes of MIMIC-III, and about how many characters one has, by category."""
PATIENTS, ADMISSIONS, DIAGNOSES, CODES = 46_520, 58_976, 651_047, 6_984
EVENTS = "ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME STORETIME CATEGORY DESCRIPTION CGID ISERROR TEXT".split()
STAYS = "SUBJECT_ID,HADM_ID,ADMITTIME,ADMISSION_TYPE,INSURANCE,LANGUAGE,ETHNICITY\n"
_SENTENCES, _WORDS = 200_000, 30_000


def main() -> None:
    """Generate, measure, print."""
    share = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        root, began = Path(scratch) / "mimic", time.monotonic()
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import noteevents; "
        subprocess.run([sys.executable, "-c", f"{code}noteevents.generate({str(root)!r}, {share})"], check=True)
        size = (root / "NOTEEVENTS.csv").stat().st_size
        print(f"{machine()}; {size / 1e6:,.0f} MB generated in {time.monotonic() - began:.0f} s", flush=True)
        whole = Path(scratch) / "store"
        told, anonymous, resident, seconds = watched([str(root), str(whole)])
        print(told)
        print(f"peak of all processes: {anonymous:,.0f} MiB anonymous, {resident:,.0f} resident; {seconds:.0f} s")
        if sys.argv[2:] == ["kill"]:
            killed = Path(scratch) / "killed"
            for number in range(1, 11):
                watched([str(root), str(killed)], seconds * number / 11)
            watched([str(root), str(killed)])
            assert digests(whole) == digests(killed), "what is killed and started again must be what is not"
            print("killed ten times: the same files")


def generate(root: str, share: float) -> None:
    """Write NOTEEVENTS, DIAGNOSES_ICD, ADMISSIONS and PATIENTS of a share of MIMIC-III's rows."""
    folder, rng = Path(root), random.Random(0)
    folder.mkdir()
    patients, admissions = max(int(PATIENTS * share), 10), max(int(ADMISSIONS * share), 12)
    owner = [*range(patients), *(rng.randrange(patients) for _ in range(admissions - patients))]
    with (folder / "PATIENTS.csv").open("w") as file:
        file.write("SUBJECT_ID,GENDER,DOB\n")
        file.writelines(f"{p},{'FM'[p % 2]},{2050 + p % 60}-03-01 00:00:00\n" for p in range(patients))
    with (folder / "ADMISSIONS.csv").open("w") as file:
        file.write(STAYS)
        file.writelines(
            f"{p},{100000 + a},2130-01-0{1 + a % 9} 10:00:00,EMERGENCY,Medicare,,WHITE\n" for a, p in enumerate(owner)
        )
    codes = [f"{number:04}" for number in range(10, 10 + CODES)]
    weights = [1 / (place + 3) for place in range(CODES)]
    with (folder / "DIAGNOSES_ICD.csv").open("w") as file:
        file.write("HADM_ID,SEQ_NUM,ICD9_CODE\n")
        for a in range(admissions):
            own = rng.choices(codes, weights, k=DIAGNOSES // ADMISSIONS)
            file.writelines(f'{100000 + a},{n},"{code}"\n' for n, code in enumerate(own, 1))
    with (folder / "NOTEEVENTS.csv").open("w") as file:
        file.write(",".join(EVENTS) + "\n")
        file.writelines(_events(owner, share, rng))


def _events(owner: list[int], share: float, rng: random.Random) -> Iterator[str]:
    """Yield the rows of NOTEEVENTS, categories mixed."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 10))) for _ in range(_WORDS)]
    often = [1 / (place + 5) for place in range(_WORDS)]
    drawn = iter(rng.choices(words, often, k=_SENTENCES * 9))
    sentences = [" ".join(next(drawn) for _ in range(9)) for _ in range(_SENTENCES)]
    sentences[::50] = [f'[**{one}**] says ""{one}"",' for one in sentences[::50]]
    mean = sum(map(len, sentences)) / len(sentences) + 2
    kinds = [name for name, (count, _) in CATEGORIES.items() for _ in range(max(round(count * share), 1))]
    rng.shuffle(kinds)
    for row, kind in enumerate(kinds, 1):
        stay = rng.randrange(len(owner))
        count = max(1, int(CATEGORIES[kind][1] / mean * rng.uniform(0.4, 1.6)))
        text = ".\n".join(rng.choices(sentences, k=count))
        hadm = "" if kind != "Discharge summary" and rng.random() < 0.11 else 100000 + stay
        yield f'{row},{owner[stay]},{hadm},2130-02-0{1 + row % 9},,,"{kind}","Report",,,"{text}.\n{row}"\n'


def watched(arguments: list[str], seconds: float | None = None) -> tuple[str, float, float, float]:
    """Open and tokenise in another process; return what it told, the peaks in MiB, and seconds. Kill it after some."""
    began, anonymous, resident = time.monotonic(), 0.0, 0.0
    child = subprocess.Popen([sys.executable, __file__, "--open", *arguments], stdout=subprocess.PIPE, text=True)
    own = psutil.Process(child.pid)
    while child.poll() is None:
        if seconds is not None and time.monotonic() - began > seconds:
            child.send_signal(signal.SIGKILL)
        try:
            found = [each.memory_info() for each in (own, *own.children(recursive=True))]
        except psutil.NoSuchProcess:
            continue
        anonymous = max(anonymous, sum(each.rss - each.shared for each in found) / 2**20)
        resident = max(resident, sum(each.rss for each in found) / 2**20)
        time.sleep(0.02)
    if child.returncode and seconds is None:
        raise SystemExit(child.returncode)
    assert child.stdout
    return child.stdout.read().strip(), anonymous, resident, time.monotonic() - began


def opened(root: str, store: str) -> None:
    """Open the task in this process, tokenise it, and print seconds, sizes and peaks of resident memory."""
    from paired import minilm
    from transformers import AutoTokenizer

    from clinlm.corpora.mimic.mimic3 import Mimic3
    from clinlm.models.peak_memory import peak_mib
    from clinlm.tasks.data import TaskData
    from clinlm.tasks.multilabel import MultiLabel
    from clinlm.text.long_notes import Head

    began, before = time.monotonic(), peak_mib()
    task = MultiLabel(Mimic3, root, Head(), labels=20, max_tokens=512)
    task.open(Path(store), "bench")
    read, after = time.monotonic(), peak_mib()
    data = TaskData(task, AutoTokenizer.from_pretrained(minilm()), limit=512)
    print(f"{task.examples.facts['documents']:,} admissions, {len(data.encoded.tokens):,} tokens")
    print(
        f"imports {before:,.0f} MiB; read in {read - began:.0f} s ({after:,.0f} MiB), tokenised in "
        f"{time.monotonic() - read:.0f} s ({peak_mib():,.0f} MiB)",
        flush=True,
    )


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every file that is kept."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--open"]:
        opened(*sys.argv[2:])
    else:
        main()
