"""What bench/gpu measures, in Hugging Face transformers: one JSON request on standard input, one JSON line of results.

Forward pass, diffusion decoding at temperature 0 by entropy as the field writes it (the whole canvas through the model in every step), training step.
"""

import json
import sys
import time

import torch
import transformers
from transformers import AutoModelForCausalLM

request = json.load(sys.stdin)
device = torch.device(request["device"])
cuda = device.type == "cuda"
half = {"bf16": torch.bfloat16, "f16": torch.float16}.get(request["precision"])
if request["threads"]:
    torch.set_num_threads(request["threads"])
torch.backends.cuda.matmul.allow_tf32 = request["precision"] == "tf32"


def load(dtype):
    model = AutoModelForCausalLM.from_pretrained(request["directory"], dtype=dtype, attn_implementation="sdpa")
    model.to(device)
    if request["compiled"]:
        # Its fastest mode: CUDA graphs.
        model.forward = torch.compile(model.forward, mode="reduce-overhead" if cuda else None, dynamic=False)
    return model


def milliseconds(work, warm_up):
    times = []
    for _ in range(warm_up):
        result = work()
    begun = time.perf_counter()
    while len(times) < request["rounds"] and (
        len(times) < request["leastRounds"] or time.perf_counter() - begun < request["seconds"]
    ):
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        result = work()
        if cuda:
            torch.cuda.synchronize()
        times.append((time.perf_counter() - start) * 1000)
    return times, result


def peak_bytes():
    if not cuda:
        return None
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return peak


def sees_all(length):
    """A mask under which every token sees every token."""
    return torch.zeros(1, 1, length, length, dtype=half or torch.float32, device=device)


def forward():
    tokens = torch.tensor([request["tokens"]], device=device)
    mask = sees_all(tokens.shape[1])
    with torch.no_grad():
        return milliseconds(lambda: model(tokens, attention_mask=mask, use_cache=False).logits, request["warmUp"])[0]


@torch.no_grad()
def generate(steps, prompt, new_tokens, mask_token):
    canvas = torch.full((1, len(prompt) + new_tokens), mask_token, device=device)
    canvas[0, : len(prompt)] = torch.tensor(prompt, device=device)
    attention = sees_all(canvas.shape[1])
    for j in range(min(steps, new_tokens)):
        logits = model(canvas, attention_mask=attention, use_cache=False).logits[0].float()
        scores = logits[len(prompt) - 1 : -1].clone()
        scores[:, mask_token] = -torch.inf
        probabilities = torch.softmax(scores, -1)
        confidence = (probabilities * torch.log(probabilities + 1e-10)).sum(-1)
        fresh = canvas[0, len(prompt) :]
        is_open = fresh == mask_token
        confidence = torch.where(is_open, confidence, -torch.inf)
        count = new_tokens // steps + (1 if j < new_tokens % steps else 0)
        _, chosen = torch.topk(confidence, count)
        fresh[chosen] = scores.argmax(-1)[chosen]
    return canvas[0, len(prompt) :].tolist()


def training():
    rows, length = request["training"]["rows"], request["training"]["length"]
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    tokens = torch.randint(0, request["training"]["vocabSize"], (rows, length), device=device)

    def step():
        with torch.autocast(device.type, dtype=half, enabled=half is not None):
            logits = model(tokens, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1)
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss.item()

    return milliseconds(step, request["warmUp"])[0]


results, peaks, tokens = {}, {}, {}
model = load(half or torch.float32).eval()
results["forward"] = forward()
peaks["forward"] = peak_bytes()
decode = request["decode"]
for steps in decode["steps"]:
    name = f"decode/{steps}"
    results[name], tokens[name] = milliseconds(
        lambda: generate(steps, decode["prompt"], decode["newTokens"], decode["mask"]), 1
    )
    peaks[name] = peak_bytes()
if request["training"]:
    del model
    if cuda:
        torch.cuda.empty_cache()
    # Parameters and moments in f32, products in 16 bits by autocast: as ours.
    model = load(torch.float32)
    results["training"] = training()
    peaks["training"] = peak_bytes()
print(
    json.dumps(
        {"torch": torch.__version__, "transformers": transformers.__version__, "milliseconds": results, "peakBytes": peaks, "tokens": tokens}
    )
)
