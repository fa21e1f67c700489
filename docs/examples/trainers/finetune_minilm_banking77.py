"""Fine-tuning of MiniLM on Banking77's 77 intents, taught. Model and data come from the hub unless given."""

import argparse

from datasets import load_dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainingArguments

import attent
from attent_torch.trainers.transformers import TaughtTrainer

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model-folder", default="sentence-transformers/all-MiniLM-L6-v2")
parser.add_argument("--data", nargs=2, metavar=("TRAIN", "TEST"), help="CSV files with columns text and category")
parser.add_argument("--out", default="runs/minilm-banking77")
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--max-steps", type=int, default=-1)
given = parser.parse_args()

files = dict(zip(("train", "test"), given.data, strict=True)) if given.data else None
rows = load_dataset("csv", data_files=files) if files else load_dataset("PolyAI/banking77")
rows = rows.rename_columns({"category": "label"}).class_encode_column("label") if files else rows
tokenizer = AutoTokenizer.from_pretrained(given.model_folder)
rows = rows.map(lambda row: tokenizer(row["text"], truncation=True, max_length=64), batched=True)

classes = rows["train"].features["label"].num_classes
settings = {"per_device_train_batch_size": 32, "learning_rate": 2e-4, "eval_strategy": "epoch", "report_to": []}
TaughtTrainer(
    model=AutoModelForSequenceClassification.from_pretrained(given.model_folder, num_labels=classes),
    processing_class=tokenizer,
    args=TrainingArguments(given.out, max_steps=given.max_steps, **settings),
    train_dataset=rows["train"],
    eval_dataset=rows["test"],
    compute_metrics=lambda given: {"accuracy": float((given.predictions.argmax(-1) == given.label_ids).mean())},
    plan=attent.Plan.auto(epochs=given.epochs, batch_size=32),
    attent_run=f"{given.out}/attent",
).train()
