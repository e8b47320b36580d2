"""The ops of the program format as functions of tensors: op -> from its attributes, what the graph calls."""

import math

import torch
import torch.distributed as distributed
import torch.distributed._functional_collectives as collectives

DTYPES = {
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "i32": torch.int32,
    "i64": torch.int64,
    "bool": torch.bool,
    "u8": torch.uint8,
}


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


def narrowed(half, widened, *operands):
    """
    Operands of a product, and whether its result is widened to f32 again. Under a precision of 16 bits (`half`) products of f32 round their operands;
    `widened` says that some were rounded before.
    """
    if half is None or not (widened or operands[0].dtype == torch.float32):
        return operands, False
    return tuple(operand.to(half) for operand in operands), True


def matmul(a, b, transpose_a, transpose_b, half=None, widened=False):
    (a, b), widen = narrowed(half, widened, a, b)
    product = torch.matmul(a.mT if transpose_a else a, b.mT if transpose_b else b)
    return product.float() if widen else product


def fuses(q, half, tf32):
    """Fused kernels for f32 on GPUs may use TF32: there, only where that is allowed."""
    return q.device.type == "cpu" or tf32 or half is not None or q.dtype != torch.float32


def masked_attention(q, k, v, mask, by_head):
    """Heads are kept apart, so that the mask is added as it is; keys and values are repeated for them."""
    batch, groups, per_group, length, keys = by_head
    heads = groups * per_group
    # What a row may not see is as far away as the type goes: infinities make rows of padding NaN.
    bias = torch.clamp(mask, min=torch.finfo(q.dtype).min).to(q.dtype)
    bias = bias.reshape((1,) * (5 - bias.dim()) + bias.shape)
    per_head = (1, 1) if bias.shape[1] == bias.shape[2] == 1 else (groups, per_group)
    bias = torch.broadcast_to(bias, (bias.shape[0], *per_head, length, keys)).reshape(bias.shape[0], -1, length, keys)
    k, v = (
        torch.broadcast_to(x.unsqueeze(2), (batch, groups, per_group, keys, x.shape[-1])).reshape(batch, heads, keys, -1)
        for x in (k, v)
    )
    q = q.reshape(batch, heads, length, -1)
    mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
    return mixed.reshape(batch, groups, per_group * length, -1)


def attention(q, k, v, mask, by_head, half=None, widened=False, tf32=False):
    """
    softmax(q kT + mask) v, q [B, KV, G * L, D], k and v [B, KV, K, D]. `by_head`: the shape [B, KV, G, L, K] that the mask broadcasts to, or None where
    there is no mask.
    """
    (q, k, v), widen = narrowed(half, widened, q, k, v)
    alike = q.dim() == k.dim() == v.dim() == 4 and q.shape[:2] == k.shape[:2] == v.shape[:2]
    if not (alike and fuses(q, half, tf32)):
        scores = torch.matmul(q, k.mT)
        if mask is not None:
            scores = (scores.reshape(by_head) + mask).reshape(scores.shape)
        mixed = torch.matmul(torch.softmax(scores, 3), v)
    elif mask is None:
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=1.0)
    else:
        mixed = masked_attention(q, k, v, mask, by_head)
    return mixed.float() if widen else mixed


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
    return torch.nn.functional.rms_norm(x.float(), weight.shape, weight.float(), epsilon).to(x.dtype)


@wide
def rotate(x, cosines, sines):
    a, b = x.chunk(2, dim=-1)
    c, s = cosines.unsqueeze(2), sines.unsqueeze(2)
    return torch.cat((a * c - b * s, b * c + a * s), dim=-1)


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


NF4_CODES = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)


def dequantise_nf4(packed, absmax, codes, shape, block_size, dtype):
    """NF4 weights: two codes a byte, the first in the upper half, times the absmax of their block."""
    n = math.prod(shape)
    indices = torch.stack((packed >> 4, packed & 15), 1).reshape(-1)[:n]
    values = codes[indices.int()]
    if n % block_size == 0:
        scaled = values.reshape(-1, block_size) * absmax.unsqueeze(1)
    else:
        scaled = values * absmax.repeat_interleave(block_size)[:n]
    return scaled.to(dtype).reshape(shape)


def all_reduce(x):
    """The sum over all processes. The 16-bit floats travel as f32."""
    if not distributed.is_initialized():
        return x.clone()
    wide_x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    return collectives.wait_tensor(collectives.all_reduce(wide_x, "sum", distributed.group.WORLD)).to(x.dtype)


@torch.library.custom_op("pipeline::after", mutates_args=())
def after(value: torch.Tensor) -> torch.Tensor:
    """Opaque to compilers, so that what is computed again from here on is not found equal to what was computed before."""
    return value.clone()


after.register_fake(torch.empty_like)
after.register_autograd(lambda _, gradient: gradient)


# Ops that have more results than one.
RESULTS = {"topK": 2}

# op -> from its attributes: the function in the graph, and what follows the operands. The others are special; see program.py.
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
    "sum": lambda a: (reduce_sum, tuple(a["axes"]), a["keepDims"]),
    "max": lambda a: (reduce_max, tuple(a["axes"]), a["keepDims"]),
    "argmax": lambda a: (torch.argmax, a["axis"]),
    "topK": lambda a: (top_k, a["k"]),
    "cumulativeSum": lambda a: (cumulative_sum, a["axis"], a["reverse"]),
    "softmax": lambda a: (torch.softmax, a["axis"]),
    "logSoftmax": lambda a: (torch.log_softmax, a["axis"]),
    "rmsNorm": lambda a: (rms_norm, a["epsilon"]),
    "rotate": lambda a: (rotate,),
    "gather": lambda a: (gather, a["axis"]),
    "gatherAlong": lambda a: (gather_along, a["axis"]),
    "scatterAdd": lambda a: (scatter_add_wide, a["axis"]),
    "scatterAddAlong": lambda a: (scatter_add_along_wide, a["axis"]),
    "reshape": lambda a: (torch.reshape, tuple(a["shape"])),
    "transpose": lambda a: (torch.permute, tuple(a["permutation"])),
    "broadcastTo": lambda a: (torch.broadcast_to, tuple(a["shape"])),
    "slice": lambda a: (slice_of, tuple(a["starts"]), tuple(a["ends"]), tuple(a["strides"])),
    "allReduce": lambda a: (all_reduce,),
    "pad": lambda a: (pad, tuple(a["low"]), tuple(a["high"]), a["value"]),
}
