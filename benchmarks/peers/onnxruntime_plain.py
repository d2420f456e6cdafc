"""What people write: a session of ONNX Runtime, a tokenizer of transformers, one note after another.

python benchmarks/peers/onnxruntime_plain.py DEPLOYMENT NOTES.jsonl OUTPUT.jsonl [TOKENS]

The deployment is one of engine=onnxruntime.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from transformers import AutoTokenizer

folder, notes, output, tokens = *sys.argv[1:4], int([*sys.argv[4:5], 256][0])
tokenizer = AutoTokenizer.from_pretrained(folder)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(str(Path(folder, "model.onnx")), options, providers=["CPUExecutionProvider"])
labels = json.loads(Path(folder, "serving.json").read_text(encoding="utf-8"))["labels"]
with open(notes, encoding="utf-8") as file, open(output, "w", encoding="utf-8") as answers:
    for line in file:
        encoded = tokenizer(json.loads(line)["text"], truncation=True, max_length=tokens, return_tensors="np")
        inputs = {name: encoded[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
        (logits,) = session.run(["logits"], inputs)
        answers.write(json.dumps(dict(zip(labels, (1 / (1 + np.exp(-logits[0]))).tolist(), strict=True))) + "\n")
