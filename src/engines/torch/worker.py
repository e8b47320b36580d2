"""A process that runs tensor programs with PyTorch. It knows the ops of the program format, and nothing of models, losses or optimisers.

Messages are frames: 4 bytes length of the header (little-endian), the header as JSON, then as many payload bytes as its `bytes` says. Each
request has an `id`, which its reply carries; replies come in the order of the requests. Programs come in their canonical encoding.
"""

import json
import math
import mmap
import os
import select
import struct
import sys
import threading
import time

# Deterministic matrix products; must be set before CUDA starts.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch  # noqa: E402
import torch.distributed as distributed  # noqa: E402
from calls import Call, Halves, Versions  # noqa: E402
from ops import DTYPES  # noqa: E402
from program import PRECISIONS, Executable  # noqa: E402

PROTOCOL = 2

# Bytes of a file that are on their way to a device at once.
PIECE = 2**28


class Worker:
    def __init__(self):
        self.memories, self.executables, self.calls = {}, {}, {}
        self.versions, self.halves = Versions(), Halves()
        self.device = torch.device("cpu")
        self.compiled = False
        self.capture = None
        self.precision = PRECISIONS["f32"]

    # Each method takes the request and its payload, and returns the reply's fields and payload.

    def start(self, request, _):
        self.device = torch.device(request["device"])
        self.compiled = request["compiled"]
        self.precision = PRECISIONS[request["precision"]]
        if request.get("threads"):
            torch.set_num_threads(request["threads"])
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
        matmul = torch.backends.cuda.matmul
        matmul.allow_tf32 = self.precision.tf32
        torch.backends.cudnn.allow_tf32 = self.precision.tf32
        # Products of 16-bit floats add up in f32 all the way.
        matmul.allow_bf16_reduced_precision_reduction = False
        matmul.allow_fp16_reduced_precision_reduction = False
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.set_device(self.device)
        if request["processes"] > 1:
            distributed.init_process_group("nccl" if cuda else "gloo")
        if cuda and request["graphs"]:
            self.capture = torch.cuda.graph_pool_handle()
        properties = torch.cuda.get_device_properties(self.device) if cuda else None
        return {
            "device": properties.name if properties else "cpu",
            "memory": properties.total_memory if properties else None,
            "capability": f"{properties.major}.{properties.minor}" if properties else None,
        }, b""

    def compile(self, request, payload):
        self.executables[request["executable"]] = Executable(
            payload.decode(), self.device, self.compiled, self.precision
        )
        return {}, b""

    def allocate(self, request, _):
        memory = torch.zeros(request["shape"], dtype=DTYPES[request["dtype"]], device=self.device)
        self.versions.written(memory)
        self.memories[request["buffer"]] = memory
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
            self.halves,
            self.capture,
        )
        return {}, b""

    def run(self, request, _):
        with torch.no_grad():
            for call in request["calls"]:
                self.calls[call].run(self.versions)
        # The answer says that it is done, and brings what went wrong meanwhile.
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return {}, b""

    def upload(self, request, payload):
        memory = self.memory(request["buffer"])
        if payload:
            memory.copy_(torch.frombuffer(bytearray(payload), dtype=memory.dtype).view(memory.shape))
            self.versions.written(memory)
        return {}, b""

    def load(self, request, _):
        """Fills a buffer from a file, which is mapped and converted on the device."""
        memory = self.memory(request["buffer"])
        flat, dtype = memory.view(-1), DTYPES[request["dtype"]]
        count = max(1, PIECE // dtype.itemsize)
        with open(request["path"], "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
            for start in range(0, flat.numel(), count):
                part = flat[start : start + count]
                offset = request["offset"] + start * dtype.itemsize
                piece = torch.frombuffer(mapped, dtype=dtype, count=part.numel(), offset=offset)
                part.copy_(piece.to(self.device))
                del piece
        self.versions.written(memory)
        return {}, b""

    def download(self, request, _):
        host = self.memory(request["buffer"]).contiguous().cpu().view(-1)
        return {}, host.view(torch.uint8).numpy().tobytes() if host.numel() else b""

    def statistics(self, request, _):
        """Most bytes of the device that tensors had at once since the last such request; null on the processor."""
        if self.device.type != "cuda":
            return {"peak": None}, b""
        peak = torch.cuda.max_memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        return {"peak": peak}, b""

    def free(self, request, _):
        {"buffer": self.memories, "executable": self.executables, "call": self.calls}[request["what"]].pop(
            request["target"], None
        )
        return {}, b""

    def memory(self, i):
        if i not in self.memories:
            raise ValueError(f"buffer {i} was freed, or is not of this engine")
        return self.memories[i]


REQUESTS = {
    "start",
    "compile",
    "allocate",
    "view",
    "bind",
    "run",
    "upload",
    "load",
    "download",
    "statistics",
    "free",
}


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


# Seconds that the work at hand has to end after whoever started us is gone.
GRACE = 5


def end_with_parent():
    """Ends the process when nobody can ask any more, also while it computes or compiles."""
    if not hasattr(select, "POLLRDHUP"):
        return
    poll = select.poll()
    poll.register(0, select.POLLRDHUP | select.POLLHUP)
    poll.poll()
    time.sleep(GRACE)
    os._exit(0)


def describe(error):
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def main():
    frames = Frames()
    threading.Thread(target=end_with_parent, daemon=True).start()
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
