"""The bound of a masked-diffusion model and its loss by the share of masks, from the definitions. Reads a JSON request, writes a JSON reply.

A model of transformers reads from left to right; here every token sees all of its sequence. The token at a place is predicted from the state before it; the
first token is given. `given` says which places each draw of each sequence masks; `own` further draws of each sequence have a number of masks that is
uniform on 1 to n and a random subset of that size, by numpy's generator.

Reply, `given` and `own` by sequence and draw: the number of masks, and n / k times the sum of the losses of the k masked tokens.
"""

import json
import sys

import numpy
import torch
from transformers import AutoModelForCausalLM

# The products are too small to share.
torch.set_num_threads(1)
request = json.load(sys.stdin)
model = AutoModelForCausalLM.from_pretrained(request["directory"], attn_implementation="eager", dtype=torch.float32)
model.eval()
generator = numpy.random.default_rng(request["seed"])


@torch.no_grad()
def losses(ids, masked):
    """Of the masked tokens of some rows of one length; all tokens see each other."""
    seen = torch.where(masked, request["mask"], ids)
    rows, length = ids.shape
    everything = torch.zeros(rows, 1, length, length)
    logits = model(seen, attention_mask=everything).logits.double()
    each = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1), reduction="none")
    return each.reshape(rows, length - 1) * masked[:, 1:]


def estimates(tokens, draws):
    n = len(tokens) - 1
    found = []
    for start in range(0, len(draws), 256):
        some = draws[start : start + 256]
        masked = torch.zeros(len(some), n + 1, dtype=torch.bool)
        for row, places in enumerate(some):
            masked[row, places] = True
        sums = losses(torch.tensor([tokens] * len(some)), masked).sum(dim=1)
        found += [[len(places), n / len(places) * float(total)] for places, total in zip(some, sums)]
    return found


def drawn(n):
    k = int(generator.integers(1, n + 1))
    return (1 + generator.choice(n, size=k, replace=False)).tolist()


sequences = request["sequences"]
given = [estimates(tokens, draws) for tokens, draws in zip(sequences, request["given"])]
own = [estimates(tokens, [drawn(len(tokens) - 1) for _ in range(request["own"])]) for tokens in sequences]
json.dump({"given": given, "own": own}, sys.stdout)
