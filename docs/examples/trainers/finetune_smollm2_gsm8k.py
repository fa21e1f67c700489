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
for name, usual in {"epochs": 3, "batch-size": 32, "device-batch-size": 8, "max-steps": -1, "max-length": 512}.items():
    parser.add_argument(f"--{name}", type=int, default=usual)
given = parser.parse_args()

rows = load_dataset("json", data_files=given.data) if given.data else load_dataset("openai/gsm8k", "main")
data = rows["train"].rename_columns({"question": "prompt", "answer": "completion"})
data = data.map(lambda row: {"prompt": f"Question: {row['prompt']}\nAnswer:", "completion": f" {row['completion']}"})

sizes = {"per_device_train_batch_size": given.device_batch_size, "max_length": given.max_length}
sizes |= {"gradient_accumulation_steps": given.batch_size // given.device_batch_size, "max_steps": given.max_steps}
settings = {"learning_rate": 2e-4, "logging_steps": 10, "bf16": torch.cuda.is_available(), "report_to": []}
TaughtSFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(given.model_folder),
    processing_class=AutoTokenizer.from_pretrained(given.model_folder),
    peft_config=LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"),
    args=SFTConfig(given.out, **sizes, **settings),
    train_dataset=data,
    plan=attent.Plan.auto(epochs=given.epochs, batch_size=given.batch_size),
    attent_run=f"{given.out}/attent",
).train()
