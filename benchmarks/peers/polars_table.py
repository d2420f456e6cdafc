"""What people write: a lazy frame of polars over a table of notes; it checks neither quotes nor bytes.

python benchmarks/peers/polars_table.py stream|keep TABLE.csv

As pandas_table.py.
"""

import json
import sys
import time

import polars as pl

KEPT = ["ROW_ID", "SUBJECT_ID", "CATEGORY", "ISERROR", "TEXT"]
work, path = sys.argv[1:3]


def mib(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(name))


imports, began = mib("VmHWM"), time.process_time()
table = pl.scan_csv(path, infer_schema=False)
if work == "stream":
    summed = table.select(pl.len(), pl.col("TEXT").str.len_bytes().sum())
    answer = str(summed.collect(engine="streaming").row(0))
else:
    wrong, filled = pl.col("ISERROR").fill_null("") == "1", pl.col("TEXT").str.contains(r"\S").fill_null(False)
    kept = table.select(KEPT).filter(~wrong & filled).collect()
    answer = str(kept.height)
seconds = time.process_time() - began
print(json.dumps([seconds, mib("VmHWM"), mib("VmHWM") - imports, answer]))
