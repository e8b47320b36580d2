"""A process that runs tensor programs with PyTorch. It knows the ops of the program format, and nothing of models, losses or optimisers.

Messages are frames: 4 bytes length of the header (little-endian), the header as JSON, then as many payload bytes as its `bytes` says. Each
request has an `id`, which its reply carries; replies come in the order of the requests. Programs come in their canonical encoding.
"""

import base64
import json
import math
import os
import struct
import sys

# Deterministic matrix products; must be set before CUDA starts.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch  # noqa: E402
from torch import fx  # noqa: E402

PROTOCOL = 1

DTYPES = {
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "i32": torch.int32,
    "i64": torch.int64,
    "bool": torch.bool,
    "u8": torch.uint8,
}

# ---------------------------------------------------------------------------------------------------------------- the ops


def wide(f):
    """Computes on at least f32 and rounds once."""

    def apply(x, *rest):
        return f(x.float(), *rest).to(x.dtype) if x.dtype in (torch.float16, torch.bfloat16) else f(x, *rest)

    return apply


def threefry(key, shape):
    """Uniform numbers in [0, 1): Threefry-2x32 with 20 rounds on 64-bit integers that hold words of 32 bits."""
    mask = 0xFFFFFFFF
    n = math.prod(shape)
    blocks = torch.arange((n + 1) // 2, device=key.device, dtype=torch.int64)
    k0, k1 = key[0] & mask, key[1] & mask
    keys = (k0, k1, (0x1BD11BDA ^ k0 ^ k1) & mask)
    x0 = ((blocks & mask) + keys[0]) & mask
    x1 = ((blocks >> 32) + keys[1]) & mask
    for i in range(20):
        bits = (13, 15, 26, 6, 17, 29, 16, 24)[i % 8]
        x0 = (x0 + x1) & mask
        x1 = ((x1 << bits) | (x1 >> (32 - bits))) & mask
        x1 = x1 ^ x0
        if i % 4 == 3:
            injection = (i + 1) // 4
            x0 = (x0 + keys[injection % 3]) & mask
            x1 = (x1 + keys[(injection + 1) % 3] + injection) & mask
    words = torch.stack((x0, x1), 1).reshape(-1)[:n]
    return ((words >> 8).float() * 2.0**-24).reshape(shape)


def sign(x):
    return torch.where(torch.isnan(x), x, torch.sign(x)) if x.is_floating_point() else torch.sign(x)


def divide(a, b):
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def cast(x, dtype):
    return x != 0 if dtype == torch.bool else x.to(dtype)


def matmul(a, b, transpose_a, transpose_b):
    return torch.matmul(a.mT if transpose_a else a, b.mT if transpose_b else b)


def reduce_sum(x, axes, keep):
    return torch.sum(x, axes, keepdim=keep, dtype=x.dtype) if axes else x.clone()


def reduce_max(x, axes, keep):
    return torch.amax(x, axes, keepdim=keep) if axes else x.clone()


def top_k(x, k):
    values, indices = torch.sort(x, dim=-1, descending=True, stable=True)
    return values[..., :k].contiguous(), indices[..., :k].contiguous()


@wide
def cumulative_sum_wide(x, axis, reverse):
    return torch.cumsum(x.flip(axis), axis).flip(axis) if reverse else torch.cumsum(x, axis)


def cumulative_sum(x, axis, reverse):
    return cumulative_sum_wide(x, axis, reverse).to(x.dtype)


def rms_norm(x, weight, epsilon):
    h = x.float()
    return (weight.float() * (h * torch.rsqrt(h.square().mean(-1, keepdim=True) + epsilon))).to(x.dtype)


def gather(x, indices, axis):
    taken = torch.index_select(x, axis, indices.reshape(-1))
    return taken.reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])


def gather_along(x, indices, axis):
    return torch.gather(x, axis, indices.long())


@wide
def scatter_add_wide(x, indices, updates, axis):
    flat = updates.reshape(x.shape[:axis] + (indices.numel(),) + x.shape[axis + 1 :])
    return torch.index_add(x, axis, indices.reshape(-1), flat.to(x.dtype))


@wide
def scatter_add_along_wide(x, indices, updates, axis):
    return torch.scatter_add(x, axis, indices.long(), updates.to(x.dtype))


def slice_of(x, starts, ends, strides):
    return x[tuple(slice(*limits) for limits in zip(starts, ends, strides))]


def pad(x, low, high, value):
    edges = [edge for pair in zip(reversed(low), reversed(high)) for edge in pair]
    return torch.nn.functional.pad(x, edges, value=value)


@torch.library.custom_op("pipeline::after", mutates_args=())
def after(value: torch.Tensor) -> torch.Tensor:
    """Opaque to compilers, so that what is computed again from here on is not found equal to what was computed before."""
    return value.clone()


after.register_fake(torch.empty_like)
after.register_autograd(lambda _, gradient: gradient)


# op -> from its attributes: the function in the graph, and what follows the operands. iota, concat and after are special; see Executable.
OPS = {
    "random": lambda a: (threefry, tuple(a["shape"])),
    "neg": lambda a: (torch.neg,),
    "abs": lambda a: (torch.abs,),
    "sign": lambda a: (sign,),
    "floor": lambda a: (torch.floor,),
    "exp": lambda a: (torch.exp,),
    "log": lambda a: (torch.log,),
    "sqrt": lambda a: (torch.sqrt,),
    "rsqrt": lambda a: (torch.rsqrt,),
    "sin": lambda a: (torch.sin,),
    "cos": lambda a: (torch.cos,),
    "tanh": lambda a: (torch.tanh,),
    "erf": lambda a: (torch.erf,),
    "sigmoid": lambda a: (torch.sigmoid,),
    "not": lambda a: (torch.logical_not,),
    "cast": lambda a: (cast, DTYPES[a["dtype"]]),
    "add": lambda a: (torch.add,),
    "sub": lambda a: (torch.sub,),
    "mul": lambda a: (torch.mul,),
    "div": lambda a: (divide,),
    "rem": lambda a: (torch.fmod,),
    "pow": lambda a: (torch.pow,),
    "maximum": lambda a: (torch.maximum,),
    "minimum": lambda a: (torch.minimum,),
    "and": lambda a: (torch.logical_and,),
    "or": lambda a: (torch.logical_or,),
    "equal": lambda a: (torch.eq,),
    "less": lambda a: (torch.lt,),
    "lessEqual": lambda a: (torch.le,),
    "select": lambda a: (torch.where,),
    "matmul": lambda a: (matmul, a["transposeA"], a["transposeB"]),
    "sum": lambda a: (reduce_sum, tuple(a["axes"]), a["keepDims"]),
    "max": lambda a: (reduce_max, tuple(a["axes"]), a["keepDims"]),
    "argmax": lambda a: (torch.argmax, a["axis"]),
    "topK": lambda a: (top_k, a["k"]),
    "cumulativeSum": lambda a: (cumulative_sum, a["axis"], a["reverse"]),
    "softmax": lambda a: (torch.softmax, a["axis"]),
    "logSoftmax": lambda a: (torch.log_softmax, a["axis"]),
    "rmsNorm": lambda a: (rms_norm, a["epsilon"]),
    "gather": lambda a: (gather, a["axis"]),
    "gatherAlong": lambda a: (gather_along, a["axis"]),
    "scatterAdd": lambda a: (scatter_add_wide, a["axis"]),
    "scatterAddAlong": lambda a: (scatter_add_along_wide, a["axis"]),
    "reshape": lambda a: (torch.reshape, tuple(a["shape"])),
    "transpose": lambda a: (torch.permute, tuple(a["permutation"])),
    "broadcastTo": lambda a: (torch.broadcast_to, tuple(a["shape"])),
    "slice": lambda a: (slice_of, tuple(a["starts"]), tuple(a["ends"]), tuple(a["strides"])),
    "pad": lambda a: (pad, tuple(a["low"]), tuple(a["high"]), a["value"]),
}


# ------------------------------------------------------------------------------------------------------------- programs


class Executable:
    """A program as a graph of PyTorch functions, run as it is or compiled."""

    def __init__(self, text, device, compiled):
        program = json.loads(text)
        graph = fx.Graph()
        values = [graph.placeholder(f"input_{i}") for i in range(len(program["inputs"]))]
        root = torch.nn.Module()
        for i, constant in enumerate(program["constants"]):
            data = bytearray(base64.b64decode(constant["data"]))
            dtype = DTYPES[constant["dtype"]]
            tensor = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
            root.register_buffer(f"constant_{i}", tensor.reshape(constant["shape"]).to(device))
            values.append(graph.get_attr(f"constant_{i}"))
        for instruction in program["instructions"]:
            op, attributes = instruction["op"], instruction["attributes"]
            operands = [values[i] for i in instruction["inputs"]]
            if op == "iota":
                axis, shape = attributes["axis"], attributes["shape"]
                line = [1] * len(shape)
                line[axis] = shape[axis]
                dtype = DTYPES[attributes["dtype"]]
                name = f"iota_{len(values)}"
                steps = torch.arange(shape[axis], dtype=dtype, device=device).reshape(line).expand(shape)
                root.register_buffer(name, steps)
                values.append(graph.get_attr(name))
            elif op == "concat":
                values.append(graph.call_function(torch.cat, (operands, attributes["axis"])))
            elif op == "after":
                values.append(graph.call_function(torch.ops.pipeline.after.default, (operands[0],)))
            else:
                function, *arguments = OPS[op](attributes)
                result = graph.call_function(function, (*operands, *arguments))
                if op == "topK":
                    values += [graph.call_function(lambda pair, i: pair[i], (result, i)) for i in range(2)]
                else:
                    values.append(result)
        graph.output(tuple(values[output["value"]] for output in program["outputs"]))
        self.module = fx.GraphModule(root, graph)
        self.run = torch.compile(self.module, dynamic=False, fullgraph=True) if compiled else self.module


class Call:
    """An executable on its buffers. On CUDA what it launches is recorded once and replayed."""

    def __init__(self, executable, inputs, outputs, capture):
        self.executable, self.inputs, self.outputs, self.capture = executable, inputs, outputs, capture
        self.graph = None
        self.runs = 0

    def compute(self):
        results = self.executable.run(*self.inputs)
        for output, result in zip(self.outputs, results):
            # A result may be a view of an input that another output overwrites.
            if output.data_ptr() != result.data_ptr() and any(
                result.untyped_storage().data_ptr() == other.untyped_storage().data_ptr() for other in self.outputs
            ):
                results = tuple(result.clone() for result in results)
                break
        for output, result in zip(self.outputs, results):
            output.copy_(result)

    def run(self):
        self.runs += 1
        if self.graph is not None:
            return self.graph.replay()
        # The first runs tune and compile; they must not be recorded.
        if self.capture is None or self.runs < 3:
            return self.compute()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.capture):
            self.compute()
        self.graph = graph
        graph.replay()


class Worker:
    def __init__(self):
        self.memories, self.executables, self.calls = {}, {}, {}
        self.device = torch.device("cpu")
        self.compiled = False
        self.capture = None

    # Each method takes the request and its payload, and returns the reply's fields and payload.

    def start(self, request, _):
        self.device = torch.device(request["device"])
        self.compiled = request["compiled"]
        if request.get("threads"):
            torch.set_num_threads(request["threads"])
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
        torch.backends.cuda.matmul.allow_tf32 = request["tf32"]
        torch.backends.cudnn.allow_tf32 = request["tf32"]
        cuda = self.device.type == "cuda"
        if cuda and request["graphs"]:
            self.capture = torch.cuda.graph_pool_handle()
        properties = torch.cuda.get_device_properties(self.device) if cuda else None
        return {
            "device": properties.name if properties else "cpu",
            "memory": properties.total_memory if properties else None,
            "capability": f"{properties.major}.{properties.minor}" if properties else None,
        }, b""

    def compile(self, request, payload):
        self.executables[request["executable"]] = Executable(payload.decode(), self.device, self.compiled)
        return {}, b""

    def allocate(self, request, _):
        self.memories[request["buffer"]] = torch.zeros(
            request["shape"], dtype=DTYPES[request["dtype"]], device=self.device
        )
        return {}, b""

    def view(self, request, _):
        flat = self.memory(request["of"]).view(-1)
        shape = request["shape"]
        self.memories[request["buffer"]] = flat.narrow(0, request["offset"], math.prod(shape)).view(shape)
        return {}, b""

    def bind(self, request, _):
        self.calls[request["call"]] = Call(
            self.executables[request["executable"]],
            [self.memory(i) for i in request["inputs"]],
            [self.memory(i) for i in request["outputs"]],
            self.capture,
        )
        return {}, b""

    def run(self, request, _):
        with torch.no_grad():
            for call in request["calls"]:
                self.calls[call].run()
        return {}, b""

    def upload(self, request, payload):
        memory = self.memory(request["buffer"])
        if payload:
            memory.copy_(torch.frombuffer(bytearray(payload), dtype=memory.dtype).view(memory.shape))
        return {}, b""

    def download(self, request, _):
        host = self.memory(request["buffer"]).contiguous().cpu().view(-1)
        return {}, host.view(torch.uint8).numpy().tobytes() if host.numel() else b""

    def free(self, request, _):
        {"buffer": self.memories, "executable": self.executables, "call": self.calls}[request["what"]].pop(
            request["target"], None
        )
        return {}, b""

    def memory(self, i):
        if i not in self.memories:
            raise ValueError(f"buffer {i} was freed, or is not of this engine")
        return self.memories[i]


REQUESTS = {"start", "compile", "allocate", "view", "bind", "run", "upload", "download", "free"}


class Frames:
    """The other end of the pipes. What libraries print must not mix with the frames: it goes where errors go."""

    def __init__(self):
        self.output = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        self.input = os.fdopen(os.dup(0), "rb")

    def read_exactly(self, n):
        data = self.input.read(n)
        if len(data) != n:
            sys.exit(0)  # whoever started us is gone
        return data

    def read(self):
        (length,) = struct.unpack("<I", self.read_exactly(4))
        request = json.loads(self.read_exactly(length))
        return request, self.read_exactly(request["bytes"])

    def write(self, header, payload=b""):
        text = json.dumps({**header, "bytes": len(payload)}).encode()
        self.output.write(struct.pack("<I", len(text)) + text)
        self.output.write(payload)
        self.output.flush()


def describe(error):
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def main():
    frames = Frames()
    worker = Worker()
    cuda = torch.cuda.is_available()
    frames.write(
        {
            "protocol": PROTOCOL,
            "torch": torch.__version__,
            "cuda": torch.version.cuda if cuda else None,
            "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
        }
    )
    while True:
        request, payload = frames.read()
        try:
            if request["kind"] not in REQUESTS:
                raise ValueError(f"unknown request {request['kind']}")
            fields, data = getattr(worker, request["kind"])(request, payload)
            frames.write({"id": request["id"], "ok": True, **fields}, data)
        except Exception as error:  # noqa: BLE001: whatever fails is the answer
            frames.write({"id": request["id"], "ok": False, "message": describe(error)})


if __name__ == "__main__":
    main()
