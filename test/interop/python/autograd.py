"""Gradients of an encoded program by PyTorch's own differentiation of the torch engine's graph."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "src" / "engines" / "torch"))

import torch
from ops import DTYPES
from program import Executable



def differentiate(question):
    executable = Executable(question["program"], torch.device("cpu"), False)
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
