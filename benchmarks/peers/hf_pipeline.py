"""What people write: a text-classification pipeline of transformers over a file of notes, answers as JSON Lines.

python benchmarks/peers/hf_pipeline.py MODEL NOTES.jsonl OUTPUT.jsonl [TOKENS] [BATCH_SIZE]
"""

import json
import sys

import torch
from transformers import pipeline

model, notes, output, tokens, size = *sys.argv[1:4], *map(int, [*sys.argv[4:6], *("256", "8")[len(sys.argv[4:6]) :]])
torch.set_num_threads(1)
with open(notes, encoding="utf-8") as file:
    texts = [json.loads(line)["text"] for line in file]
classify = pipeline("text-classification", model, device="cpu")
found = classify(texts, batch_size=size, truncation=True, max_length=tokens, top_k=None)
with open(output, "w", encoding="utf-8") as file:
    for answer in found:
        file.write(json.dumps({own["label"]: own["score"] for own in answer}) + "\n")
