"""What people write: scikit-learn's metrics of a table of labels and probabilities.

python benchmarks/peers/sklearn_quality.py TABLE.npz

TABLE.npz has `truth` (documents, labels; booleans) and `scores` (probabilities). Labels without a positive are left out
of macro AUROC, as scikit-learn cannot compute it. Printed are core-seconds, without imports and reading, and metrics.
"""

import json
import sys
import time

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

with np.load(sys.argv[1]) as table:
    truth, scores = table["truth"], table["scores"]
began = time.process_time()
found = {
    "micro_f1": f1_score(truth, scores >= 0.5, average="micro", zero_division=0),
    "macro_f1": f1_score(truth, scores >= 0.5, average="macro", zero_division=0),
}
seen = [label for label in range(truth.shape[1]) if 0 < truth[:, label].sum() < len(truth)]
found["macro_auroc"] = float(np.mean([roc_auc_score(truth[:, label], scores[:, label]) for label in seen]))
found["macro_auprc"] = float(np.mean([average_precision_score(truth[:, label], scores[:, label]) for label in seen]))
found["micro_auroc"] = roc_auc_score(truth.ravel(), scores.ravel())
print(json.dumps([time.process_time() - began, found]))
