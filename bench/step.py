"""The training step of bench/step.ts in PyTorch: transformers' own model, AdamW and clipping. One line in: how many steps; one line out: their
milliseconds and the last loss."""

import json
import sys
import time

import torch
from transformers import AutoConfig, AutoModelForCausalLM

request = json.loads(sys.stdin.readline())
torch.set_num_threads(request["threads"])
torch.manual_seed(0)
model = AutoModelForCausalLM.from_config(
    AutoConfig.for_model(**request["config"]), attn_implementation="sdpa", dtype=torch.float32
)
model.train()
if request["recompute"]:
    model.activation_checkpointing_enable()
if request["compiled"]:
    model.forward = torch.compile(model.forward)
optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
tokens = torch.randint(0, request["config"]["vocab_size"], (request["rows"], request["length"]))


def step():
    logits = model(tokens, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return loss.item()


print(json.dumps({"torch": torch.__version__, "parameters": sum(p.numel() for p in model.parameters())}), flush=True)
for line in sys.stdin:
    milliseconds = []
    loss = None
    for _ in range(int(line)):
        start = time.perf_counter()
        loss = step()
        milliseconds.append((time.perf_counter() - start) * 1000)
    print(json.dumps({"milliseconds": milliseconds, "loss": loss}), flush=True)
