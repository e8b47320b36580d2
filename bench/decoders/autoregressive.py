"""Autoregressive decoding of bench/decoders.ts by transformers: `generate` with its cache. One line in: the model; then, for each line, a turn of it."""

import json
import sys
import time

import torch
from transformers import AutoConfig, AutoModelForCausalLM

request = json.loads(sys.stdin.readline())
torch.set_num_threads(request["threads"])
torch.manual_seed(0)
config = AutoConfig.for_model(**request["config"])
model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=torch.float32).eval()
prompt = torch.tensor([request["prompt"]])
new_tokens = request["new_tokens"]
print(json.dumps({"torch": torch.__version__, "parameters": sum(p.numel() for p in model.parameters())}), flush=True)
for _line in sys.stdin:
    start = time.perf_counter()
    with torch.inference_mode():
        made = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=0,
        )
    assert made.shape[1] == prompt.shape[1] + new_tokens
    print(json.dumps((time.perf_counter() - start) * 1000), flush=True)
