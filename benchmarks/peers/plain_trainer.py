"""What people write: transformers' Trainer as it comes (float32, AdamW, rows padded to the longest allowed).

python benchmarks/peers/plain_trainer.py MODEL NOTES.csv EPOCHS [LAYERS] [TOKENS] [BATCH_SIZE]

NOTES.csv has columns `text` and `labels` (separated by semicolons) and every tenth note is for validation. With LAYERS
the student keeps so many layers of MODEL, which is its teacher in every step (temperature 2, half of the loss).
"""

import csv
import sys
import tempfile

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

model, notes, epochs = sys.argv[1], sys.argv[2], int(sys.argv[3])
layers, tokens, size = (int(own) for own in [*sys.argv[4:7], *("0", "256", "8")[len(sys.argv[4:7]) :]])
torch.set_num_threads(1)
with open(notes, encoding="utf-8", newline="") as file:
    rows = [(row["text"], row["labels"].split(";")) for row in csv.DictReader(file)]
names = sorted({name for _, own in rows for name in own})
tokenizer = AutoTokenizer.from_pretrained(model)
read = tokenizer([text for text, _ in rows], truncation=True, padding="max_length", max_length=tokens)
targets = np.array([[name in own for name in names] for _, own in rows], np.float32)
examples = [{key: read[key][i] for key in read} | {"labels": targets[i]} for i in range(len(rows))]
settings = {"num_labels": len(names), "problem_type": "multi_label_classification", "dtype": torch.float32}
teacher = AutoModelForSequenceClassification.from_pretrained(model, **settings)
student = teacher
if layers:
    student = AutoModelForSequenceClassification.from_pretrained(model, num_hidden_layers=layers, **settings)
    teacher.eval()


class DistillationTrainer(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        if teacher is student:
            return (outputs.loss, outputs) if return_outputs else outputs.loss
        with torch.no_grad():
            soft = teacher(**{key: value for key, value in inputs.items() if key != "labels"}).logits / 2
        p, own = soft.sigmoid(), outputs.logits / 2
        kl = p * (logsigmoid(soft) - logsigmoid(own)) + (1 - p) * (logsigmoid(-soft) - logsigmoid(-own))
        hard = binary_cross_entropy_with_logits(outputs.logits, inputs["labels"])
        loss = 0.5 * 4 * kl.mean() + 0.5 * hard
        return (loss, outputs) if return_outputs else loss


with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        folder,
        num_train_epochs=epochs,
        per_device_train_batch_size=size,
        per_device_eval_batch_size=size,
        learning_rate=2e-4,
        eval_strategy="epoch",
        save_strategy="epoch",
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    held = [own for i, own in enumerate(examples) if i % 10 == 9]
    trainer = DistillationTrainer(
        student, arguments, train_dataset=[own for i, own in enumerate(examples) if i % 10 != 9], eval_dataset=held
    )
    trainer.train()
