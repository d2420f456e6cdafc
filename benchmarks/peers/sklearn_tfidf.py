"""What people write: scikit-learn's vectorizer and logistic regressions over a file of notes, answers as JSON Lines.

python benchmarks/peers/sklearn_tfidf.py TFIDF_FOLDER NOTES.jsonl OUTPUT.jsonl

The folder is that of our TF-IDF baseline in a store; terms and weights are put into scikit-learn's own vectorizer.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from scipy.special import expit
from sklearn.feature_extraction.text import TfidfVectorizer

folder, notes, output = sys.argv[1:4]
terms = json.loads(Path(folder, "vocabulary.json").read_text(encoding="utf-8"))
labels = json.loads(Path(folder, "serving.json").read_text(encoding="utf-8"))["labels"]
parts = load_file(Path(folder, "weights.safetensors"))
settings = {"ngram_range": (1, 2), "sublinear_tf": True, "strip_accents": "unicode", "dtype": np.float32}
vectorizer = TfidfVectorizer(vocabulary={term: place for place, term in enumerate(terms)}, **settings)
vectorizer.idf_ = parts["idf"]
with open(notes, encoding="utf-8") as file:
    texts = [json.loads(line)["text"] for line in file]
with open(output, "w", encoding="utf-8") as file:
    for start in range(0, len(texts), 256):
        found = expit(vectorizer.transform(texts[start : start + 256]) @ parts["weights"].T + parts["bias"])
        for row in found.tolist():
            file.write(json.dumps(dict(zip(labels, row, strict=True))) + "\n")
