"""A small Llama learns to add, by TRL's SFTTrainer."""

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig

import attent
from attent_torch.trainers.trl import TaughtSFTTrainer

words = ["<end>", *"0123456789+="]
splitter = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<end>"))
splitter.pre_tokenizer = pre_tokenizers.Split("", "isolated")
tokenizer = PreTrainedTokenizerFast(tokenizer_object=splitter, eos_token="<end>", pad_token="<end>")

sums = [(a, b) for a in range(20) for b in range(20)]
data = Dataset.from_dict({"prompt": [f"{a}+{b}=" for a, b in sums], "completion": [str(a + b) for a, b in sums]})

config = LlamaConfig(
    vocab_size=len(words), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
)
arguments = SFTConfig(
    "runs/llama",
    per_device_train_batch_size=10,
    gradient_accumulation_steps=3,
    num_train_epochs=4,
    learning_rate=3e-3,
    bf16=False,
    report_to=[],
)
trainer = TaughtSFTTrainer(
    plan=attent.Plan.auto(epochs=4, batch_size=30),
    model=LlamaForCausalLM(config),
    args=arguments,
    train_dataset=data,
    processing_class=tokenizer,
)
trainer.train()
