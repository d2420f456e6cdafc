"""What people write: transformers' Trainer as it comes (float32, AdamW, rows padded to the longest allowed).

python benchmarks/peers/plain_trainer.py MODEL NOTES.csv OUTPUT EPOCHS [LAYERS] [TOKENS] [BATCH_SIZE]

NOTES.csv has columns `text`, `labels` (separated by semicolons) and `split`. With LAYERS the student keeps so many
layers of MODEL, which is its teacher in every step (temperature 2, half of the loss). The model is written to OUTPUT.
Printed are the core-seconds from after the imports on, and the loss (of the labels) on test.
"""

import csv
import json
import sys
import time

import numpy as np
import torch
import torch._dynamo  # optimizers import it: not counted here, and not in ours
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

model, notes, output, epochs = *sys.argv[1:4], int(sys.argv[4])
layers, tokens, size = (int(own) for own in [*sys.argv[5:8], *("0", "256", "8")[len(sys.argv[5:8]) :]])
torch.set_num_threads(1)
began = time.process_time()
with open(notes, encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
names = sorted({name for row in rows for name in row["labels"].split(";")})
tokenizer = AutoTokenizer.from_pretrained(model)
read = tokenizer([row["text"] for row in rows], truncation=True, padding="max_length", max_length=tokens)
targets = np.array([[name in row["labels"].split(";") for name in names] for row in rows], np.float32)
parts = {"train": [], "val": [], "test": []}
for i, row in enumerate(rows):
    parts[row["split"]].append({key: read[key][i] for key in read} | {"labels": targets[i]})
settings = {"num_labels": len(names), "problem_type": "multi_label_classification", "dtype": torch.float32}
teacher = AutoModelForSequenceClassification.from_pretrained(model, **settings)
student = teacher
if layers:
    student = AutoModelForSequenceClassification.from_pretrained(model, num_hidden_layers=layers, **settings)
    teacher.eval()


class DistillationTrainer(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        loss = outputs.loss
        if model.training and teacher is not student:
            with torch.no_grad():
                soft = teacher(**{key: value for key, value in inputs.items() if key != "labels"}).logits / 2
            p, own = soft.sigmoid(), outputs.logits / 2
            kl = p * (logsigmoid(soft) - logsigmoid(own)) + (1 - p) * (logsigmoid(-soft) - logsigmoid(-own))
            loss = 0.5 * 4 * kl.mean() + 0.5 * binary_cross_entropy_with_logits(outputs.logits, inputs["labels"])
        return (loss, outputs) if return_outputs else loss


arguments = TrainingArguments(
    output,
    num_train_epochs=epochs,
    per_device_train_batch_size=size,
    per_device_eval_batch_size=size,
    learning_rate=3e-4,
    eval_strategy="epoch",
    save_strategy="epoch",
    use_cpu=True,
    report_to="none",
    disable_tqdm=True,
)
trainer = DistillationTrainer(student, arguments, train_dataset=parts["train"], eval_dataset=parts["val"])
trainer.train()
loss = trainer.predict(parts["test"]).metrics["test_loss"]
trainer.save_model(output)
tokenizer.save_pretrained(output)
print(json.dumps([time.process_time() - began, loss]))
