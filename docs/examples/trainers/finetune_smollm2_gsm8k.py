"""LoRA fine-tuning of SmolLM2-135M-Instruct on GSM8K, taught. Model and data come from the hub unless given."""

import argparse

import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig

import attent
from attent_torch.trainers.trl import TaughtSFTTrainer

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model-folder", default="HuggingFaceTB/SmolLM2-135M-Instruct")
parser.add_argument("--data", help="a JSONL file of questions and answers; the hub's openai/gsm8k if not given")
parser.add_argument("--out", default="runs/smollm2-gsm8k")
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--batch-size", type=int, default=32)
parser.add_argument("--device-batch-size", type=int, default=8)
parser.add_argument("--max-steps", type=int, default=-1)
parser.add_argument("--max-length", type=int, default=512)
given = parser.parse_args()

rows = load_dataset("json", data_files=given.data) if given.data else load_dataset("openai/gsm8k", "main")
data = rows["train"].rename_columns({"question": "prompt", "answer": "completion"})
data = data.map(lambda row: {"prompt": f"Question: {row['prompt']}\nAnswer:", "completion": f" {row['completion']}"})

settings = {"learning_rate": 2e-4, "logging_steps": 10, "bf16": torch.cuda.is_available(), "report_to": []}
arguments = SFTConfig(
    given.out,
    per_device_train_batch_size=given.device_batch_size,
    gradient_accumulation_steps=given.batch_size // given.device_batch_size,
    max_steps=given.max_steps,
    max_length=given.max_length,
    **settings,
)
TaughtSFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(given.model_folder),
    processing_class=AutoTokenizer.from_pretrained(given.model_folder),
    peft_config=LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"),
    args=arguments,
    train_dataset=data,
    plan=attent.Plan.auto(epochs=given.epochs, batch_size=given.batch_size),
    attent_run=f"{given.out}/attent",
).train()
