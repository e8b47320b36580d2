"""Decoding of a causal model of transformers as a masked diffusion model, and accuracy under parallelism. Reads a JSON request, writes a JSON reply.

decode: of each prompt and setting the new tokens and forward passes; every position sees all others, and a token is predicted from the state before it.
aup: of lists of points [tokens per forward, accuracy] the accuracy under parallelism.
"""

import json
import math
import sys

import torch
from transformers import AutoModelForCausalLM

torch.set_grad_enabled(False)
# A canvas is small: threads would wait for each other.
torch.set_num_threads(1)
request = json.load(sys.stdin)


def decode(model, prompt, *, new_tokens, block, steps, threshold, mask, eos):
    """`steps`: passes of a block, at most, each of which takes its share of the tokens at least."""
    ids = torch.tensor([prompt + [mask] * new_tokens])
    attention = torch.zeros(1, 1, ids.shape[1], ids.shape[1])
    answer = ids[0, len(prompt) :]
    passes = 0
    for begin in range(0, new_tokens, block):
        end = min(begin + block, new_tokens)
        shares = [len(part) for part in torch.arange(begin, end).tensor_split(steps) if len(part) > 0]
        for share in shares:
            hidden = (answer == mask).nonzero().flatten().tolist()
            first = hidden[0] if hidden else new_tokens
            if (answer[:first] == eos).any() or not any(i < end for i in hidden):
                break
            logits = model(ids, attention_mask=attention).logits[0].double()
            passes += 1
            logits[:, mask] = -math.inf
            probability, token = logits.softmax(-1).max(-1)
            places = [i for i in hidden if begin <= i < end]
            sure = {i: probability[len(prompt) + i - 1].item() for i in places}
            best = sorted(places, key=lambda i: -sure[i])[:share]
            likely = [i for i in places if threshold is not None and sure[i] >= threshold]
            for i in set(best) | set(likely):
                answer[i] = token[len(prompt) + i - 1]
    tokens = answer.tolist()
    return {"tokens": tokens[: tokens.index(eos)] if eos in tokens else tokens, "forwards": passes}


def decode_all():
    model = AutoModelForCausalLM.from_pretrained(
        request["directory"], attn_implementation="eager", dtype=torch.float32
    ).eval()
    return [[decode(model, prompt, **setting) for prompt in request["prompts"]] for setting in request["settings"]]


def aup(points, best, alpha=3.0):
    """The area below straight lines between weighted accuracies, and the unweighted rectangle before the first."""
    points = sorted(points)
    floor = points[0][1] - 5
    kept = [(rate, y) for rate, y in points if y >= floor]
    rates = torch.tensor([rate for rate, _ in kept], dtype=torch.float64)
    y = torch.tensor([y for _, y in kept], dtype=torch.float64)
    weighted = y * torch.clamp(torch.exp(-alpha * (1 - y / best)), max=1)
    return (rates[0] * y[0] + torch.trapezoid(weighted, rates)).item()


actions = {"decode": decode_all, "aup": lambda: [aup(points, best) for points, best in request["all"]]}
json.dump(actions[request["action"]](), sys.stdout)
