"""Executables on buffers: what is written where, 16-bit copies of weights, and what is recorded on a GPU."""

import weakref

import torch


def span(tensor):
    """The bytes of a tensor: where they begin, and where they end."""
    return tensor.data_ptr(), tensor.data_ptr() + tensor.numel() * tensor.element_size()


def overlap(a, b):
    (a_from, a_to), (b_from, b_to) = span(a), span(b)
    return a_from < b_to and b_from < a_to


def targets(inputs, outputs):
    """
    For each output the number of the input whose memory it is, or None for memory of its own. None altogether where outputs share memory with each other, or
    a part of it with an input: such results must all be computed before the first is written.
    """
    found = []
    for i, output in enumerate(outputs):
        if any(overlap(output, other) for other in outputs[:i]):
            return None
        shared = [at for at, each in enumerate(inputs) if overlap(output, each)]
        if not shared:
            found.append(None)
            continue
        same = span(inputs[shared[0]]) == span(output) and inputs[shared[0]].shape == output.shape
        if len(shared) > 1 or not same or inputs[shared[0]].dtype != output.dtype:
            return None
        found.append(shared[0])
    return tuple(found)


class Versions:
    """How often each memory was written, for copies that follow it."""

    def __init__(self):
        self.counts = {}

    def of(self, tensor):
        return self.counts.get(tensor.untyped_storage().data_ptr(), 0)

    def written(self, tensor):
        at = tensor.untyped_storage().data_ptr()
        self.counts[at] = self.counts.get(at, 0) + 1


class Half:
    """A tensor rounded to 16 bits, made anew when the tensor was written."""

    def __init__(self, source, dtype):
        self.source, self.version = source, None
        self.tensor = torch.empty(source.shape, dtype=dtype, device=source.device)

    def follow(self, versions):
        version = versions.of(self.source)
        if version != self.version:
            self.tensor.copy_(self.source)
            self.version = version


class Halves:
    """The 16-bit copies that some call needs, one for each memory."""

    def __init__(self):
        self.known = weakref.WeakValueDictionary()

    def of(self, source, dtype):
        key = (source.data_ptr(), source.shape, dtype)
        half = self.known.get(key) or Half(source, dtype)
        self.known[key] = half
        return half


class Call:
    """An executable on its buffers. On CUDA what it launches is recorded at its third run and replayed from then on."""

    def __init__(self, executable, inputs, outputs, halves, capture):
        self.outputs, self.capture = outputs, None if executable.waits else capture
        self.halves = [halves.of(inputs[i], executable.precision.half) for i in executable.halves]
        arguments = [*inputs, *(half.tensor for half in self.halves)]
        # Uncompiled, results are in memory of their own anyhow.
        places = targets(inputs, outputs) if executable.compiled else None
        if places is not None:
            arguments += [output for output, at in zip(outputs, places) if at is None]
        self.function, self.arguments, self.writes = executable.variant(places), arguments, places is not None
        self.graph = None
        self.runs = 0

    def compute(self):
        results = self.function(*self.arguments)
        if self.writes:
            return
        for output, result in zip(self.outputs, results):
            # A result may be a view of an input that another output overwrites.
            if output.data_ptr() != result.data_ptr() and any(
                result.untyped_storage().data_ptr() == other.untyped_storage().data_ptr() for other in self.outputs
            ):
                results = tuple(result.clone() for result in results)
                break
        for output, result in zip(self.outputs, results):
            output.copy_(result)

    def run(self, versions):
        for half in self.halves:
            half.follow(versions)
        self.runs += 1
        if self.graph is not None:
            self.graph.replay()
        # The first runs tune and compile; they must not be recorded.
        elif self.capture is None or self.runs < 3:
            self.compute()
        else:
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.capture):
                self.compute()
            self.graph = graph
            graph.replay()
        for output in self.outputs:
            versions.written(output)
