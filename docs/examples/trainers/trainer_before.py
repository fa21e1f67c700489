"""A small BERT learns which of two numbers is larger, as transformers' tutorial trains."""

import numpy as np
from datasets import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

random = np.random.default_rng(0)
numbers = random.integers(0, 50, (1000, 2))
rows = {"input_ids": numbers, "labels": (numbers[:, 0] > numbers[:, 1]).astype(int)}
splits = Dataset.from_dict(rows).train_test_split(200, seed=0)

config = BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
model = BertForSequenceClassification(config)


def accuracy(predictions):
    return {"accuracy": float((predictions.predictions.argmax(-1) == predictions.label_ids).mean())}


arguments = TrainingArguments(
    "runs/bert",
    per_device_train_batch_size=32,
    num_train_epochs=6,
    learning_rate=1e-3,
    eval_strategy="epoch",
    report_to=[],
)
trainer = Trainer(
    model=model,
    args=arguments,
    train_dataset=splits["train"],
    eval_dataset=splits["test"],
    compute_metrics=accuracy,
)
trainer.train()
print(trainer.evaluate()["eval_accuracy"])
