"""What people write: pandas reads a table of notes in chunks.

python benchmarks/peers/pandas_table.py stream|keep TABLE.csv

`stream` counts rows and characters of notes and keeps nothing; `keep` keeps the notes without errors. Printed are
core-seconds after the imports, the peak of resident memory in MiB, how far that is above the imports, and what was
found.
"""

import json
import sys
import time

import pandas as pd

KEPT = ["ROW_ID", "SUBJECT_ID", "CATEGORY", "ISERROR", "TEXT"]
CHUNK = 10_000
work, path = sys.argv[1:3]


def mib(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(name))


imports, began = mib("VmHWM"), time.process_time()
if work == "stream":
    rows = size = 0
    for chunk in pd.read_csv(path, dtype=str, chunksize=CHUNK):
        rows, size = rows + len(chunk), size + int(chunk["TEXT"].str.len().sum())
    answer = str((rows, size))
else:
    parts = []
    for chunk in pd.read_csv(path, dtype=str, usecols=KEPT, chunksize=CHUNK):
        parts.append(chunk[(chunk["ISERROR"] != "1") & chunk["TEXT"].str.contains(r"\S", na=False)])
    answer = str(len(kept := pd.concat(parts)))
seconds = time.process_time() - began
print(json.dumps([seconds, mib("VmHWM"), mib("VmHWM") - imports, answer]))
