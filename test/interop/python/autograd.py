"""Gradients of an encoded program by PyTorch's own differentiation of the torch engine's graph."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "src" / "engines" / "torch"))

import program
import torch
from grouped import matmul_by_group, outer_by_group
from ops import DTYPES

# The engine hides their loops from the compiler, and with them what PyTorch would differentiate.
program.grouped_matmul = lambda a, b, sizes, transpose_b, *precision: matmul_by_group(a, b, sizes, transpose_b)
program.grouped_outer = lambda a, b, sizes, *precision: outer_by_group(a, b, sizes)


def differentiate(question):
    executable = program.Executable(question["program"], torch.device("cpu"), False)
    inputs = []
    for each in question["inputs"]:
        tensor = torch.tensor(each["values"], dtype=torch.float64).to(DTYPES[each["dtype"]]).reshape(each["shape"])
        inputs.append(tensor.requires_grad_(each["wanted"]))
    (result,) = executable.run(*inputs)
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    if not result.requires_grad:
        return [[0.0] * tensor.numel() for tensor in wanted]
    seed = torch.tensor(question["seed"], dtype=torch.float32).reshape(result.shape)
    gradients = torch.autograd.grad(result, wanted, seed, allow_unused=True)
    return [
        (torch.zeros_like(tensor) if gradient is None else gradient).reshape(-1).tolist()
        for tensor, gradient in zip(wanted, gradients)
    ]


json.dump({"gradients": [differentiate(question) for question in json.load(sys.stdin)]}, sys.stdout)
