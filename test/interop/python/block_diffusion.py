"""Losses and gradients of block diffusion by transformers' classes and scaled-dot-product attention with an explicit mask. Reads a JSON request, writes tensors to the file that it names.

Each document is read alone, in a row of twice its length: with masks, and without. Token i is predicted from the logits before it: of the half with masks inside of a block, of the half without at
the beginning of one. For each of the sizes of blocks, behind `SIZE/`: `whole`, losses of the masked tokens in one such pass; `blocks`, the same by a pass for each block, of the clean blocks before it and
itself; `gradient/NAME`, of the weighted sum of `whole`.
"""

import json
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
request = json.load(sys.stdin)
model = AutoModelForCausalLM.from_pretrained(request["directory"], attn_implementation="sdpa", dtype=torch.float32)
model.eval()


def logits(ids, positions, seen):
    """seen: bool [L, L], from queries to keys."""
    forbidden = torch.finfo(torch.float32).min
    mask = torch.where(seen, 0.0, forbidden)[None, None]
    return model(torch.tensor([ids]), attention_mask=mask, position_ids=torch.tensor([positions]), use_cache=False).logits[0]


def sees(query, key, length, size):
    """Places below `length` are of the half with masks."""
    of_query, of_key = (query % length) // size, (key % length) // size
    if query < length and key < length:
        return of_query == of_key
    if query < length:
        return of_key < of_query
    return key >= length and of_key <= of_query


def masked_ids(document):
    return [request["mask"] if hidden else token for token, hidden in zip(document["ids"], document["masked"])]


def places(document):
    return [i for i, hidden in enumerate(document["masked"]) if hidden and i > 0]


def loss(row, target):
    return torch.logsumexp(row, 0) - row[target]


def in_one_pass(document, size):
    ids = document["ids"]
    length = len(ids)
    everything = range(2 * length)
    seen = torch.tensor([[sees(query, key, length, size) for key in everything] for query in everything])
    found = logits(masked_ids(document) + ids, [i % length for i in everything], seen)
    return [loss(found[i - 1 if i % size else length + i - 1], ids[i]) for i in places(document)]


@torch.no_grad()
def by_blocks(document, size):
    ids, hidden = document["ids"], masked_ids(document)
    losses = []
    for begin in range(0, len(ids), size):
        end = min(len(ids), begin + size)
        own = [i for i in places(document) if begin <= i < end]
        if not own:
            continue
        seen = torch.tensor([[key // size <= query // size for key in range(end)] for query in range(end)])
        found = logits(ids[:begin] + hidden[begin:end], list(range(end)), seen)
        losses += [loss(found[i - 1], ids[i]) for i in own]
    return losses


documents = request["documents"]
tensors = {}
for size in request["blockSizes"]:
    whole = [each for document in documents for each in in_one_pass(document, size)]
    model.zero_grad()
    sum(weight * each for weight, each in zip(request["weights"], whole)).backward()
    tensors[f"{size}/whole"] = torch.stack(whole).detach()
    tensors[f"{size}/blocks"] = torch.stack([each for document in documents for each in by_blocks(document, size)])
    for name, parameter in model.named_parameters():
        tensors[f"{size}/gradient/{name}"] = parameter.grad.clone()
save_file(tensors, request["output"])
json.dump({}, sys.stdout)
