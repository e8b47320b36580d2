"""Programs as graphs of PyTorch functions, run as they are or compiled."""

import base64
import json
from dataclasses import dataclass

import torch
from fusion import ATTENTION, fuse_attention
from grouped import grouped_matmul, grouped_outer
from ops import DTYPES, NF4_CODES, OPS, RESULTS, after, attention, dequantise_nf4, matmul
from torch import fx


@dataclass(frozen=True)
class Precision:
    """How f32 is multiplied: as it is, in TF32 where the device has it, or rounded to 16 bits (`half`)."""

    half: torch.dtype | None = None
    tf32: bool = False


PRECISIONS = {
    "f32": Precision(),
    "tf32": Precision(tf32=True),
    "bf16": Precision(half=torch.bfloat16),
    "f16": Precision(half=torch.float16),
}


# Products, and how many of their operands, from the first, are multiplied.
PRODUCTS = {"matmul": 2, "groupedMatmul": 2, "groupedOuter": 2, ATTENTION: 3}


def pick(values, i):
    return values[i]


class Executable:
    """A program as a graph. Its arguments are the inputs, then 16-bit copies of those at `halves`."""

    def __init__(self, text, device, compiled, precision=PRECISIONS["f32"]):
        program = json.loads(text)
        self.device, self.compiled, self.precision = device, compiled, precision
        self.graph, self.root = fx.Graph(), torch.nn.Module()
        instructions = fuse_attention(program)
        # Such products read on the host how many rows each group has.
        self.waits = any(instruction["op"].startswith("grouped") for instruction, _ in instructions)
        inputs = program["inputs"]
        values = {i: self.graph.placeholder(f"input_{i}") for i in range(len(inputs))}
        self.halves = self.multiplied(inputs, instructions)
        halves = {i: self.graph.placeholder(f"half_{i}") for i in self.halves}
        for i, constant in enumerate(program["constants"]):
            data = bytearray(base64.b64decode(constant["data"]))
            dtype = DTYPES[constant["dtype"]]
            tensor = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            values[len(inputs) + i] = self.constant(f"constant_{i}", tensor.reshape(constant["shape"]))
        for instruction, first in instructions:
            operands = instruction["inputs"]
            results = self.apply(instruction, [values[i] for i in operands], [halves.get(i) for i in operands])
            values.update((first + i, result) for i, result in enumerate(results))
        self.results = [values[output["value"]] for output in program["outputs"]]
        self.variants = {}

    def constant(self, name, tensor):
        if not hasattr(self.root, name):
            self.root.register_buffer(name, tensor.to(self.device))
        return self.graph.get_attr(name)

    def multiplied(self, inputs, instructions):
        """Inputs in f32 that products read: weights, which are rounded once and not in every run."""
        if self.precision.half is None:
            return []
        read = set()
        for instruction, _ in instructions:
            read.update(instruction["inputs"][: PRODUCTS.get(instruction["op"], 0)])
        return [i for i, each in enumerate(inputs) if i in read and each["dtype"] == "f32"]

    def apply(self, instruction, operands, halves):
        """The results of an instruction. `halves`: the operands' 16-bit copies, where there are any."""
        op, attributes = instruction["op"], instruction["attributes"]

        def call(function, *arguments):
            return self.graph.call_function(function, arguments)

        if op in PRODUCTS:
            products = PRODUCTS[op]
            rounded = [half or operand for half, operand in zip(halves[:products], operands[:products])]
            precision = (self.precision.half, any(half is not None for half in halves[:products]))
            if op == "matmul":
                return [call(matmul, *rounded, attributes["transposeA"], attributes["transposeB"], *precision)]
            if op == "groupedMatmul":
                return [call(grouped_matmul, *rounded, operands[2], attributes["transposeB"], *precision)]
            if op == "groupedOuter":
                return [call(grouped_outer, *rounded, operands[2], *precision)]
            mask = operands[3] if len(operands) > 3 else None
            return [call(attention, *rounded, mask, attributes["byHead"], *precision, self.precision.tf32)]
        if op == "iota":
            axis, shape, dtype = attributes["axis"], attributes["shape"], DTYPES[attributes["dtype"]]
            line = [size if i == axis else 1 for i, size in enumerate(shape)]
            steps = torch.arange(shape[axis], dtype=dtype).reshape(line)
            name = f"iota_{attributes['dtype']}_{axis}_{'_'.join(map(str, shape))}"
            return [call(torch.broadcast_to, self.constant(name, steps), tuple(shape))]
        if op == "concat":
            return [call(torch.cat, operands, attributes["axis"])]
        if op == "after":
            return [call(torch.ops.pipeline.after.default, operands[0])]
        if op == "dequantiseNf4":
            codes = self.constant("nf4_codes", torch.tensor(NF4_CODES, dtype=torch.float32))
            shape, dtype = tuple(attributes["shape"]), DTYPES[attributes["dtype"]]
            return [call(dequantise_nf4, *operands, codes, shape, attributes["blockSize"], dtype)]
        function, *arguments = OPS[op](attributes)
        result = call(function, *operands, *arguments)
        return [call(pick, result, i) for i in range(RESULTS[op])] if op in RESULTS else [result]

    def variant(self, targets):
        """
        The program as a function. `targets` None: it returns the outputs. Else it writes them when all are computed, each to the input of that number, or
        (None) to a further argument: compiled, results then go to where they belong without being copied.
        """
        if targets not in self.variants:
            graph = fx.Graph()
            copies = {node: graph.placeholder(node.name) for node in self.graph.nodes if node.op == "placeholder"}
            inputs = list(copies.values())
            own = targets is not None and [graph.placeholder(f"output_{i}") if at is None else inputs[at] for i, at in enumerate(targets)]
            graph.graph_copy(self.graph, copies)
            results = [copies[node] for node in self.results]
            for place, result in zip(own or [], results):
                graph.call_method("copy_", (place, result))
            graph.output(tuple(results) if targets is None else ())
            module = fx.GraphModule(self.root, graph)
            self.variants[targets] = (
                torch.compile(module, dynamic=False, fullgraph=True) if self.compiled else module
            )
        return self.variants[targets]

    def run(self, *arguments):
        return self.variant(None)(*arguments)
