"""Finds attention in programs, so that one kernel computes it: product, mask, softmax, product."""

from ops import RESULTS

ATTENTION = "attention"


def is_op(instruction, op, **attributes):
    return (
        instruction is not None
        and instruction["op"] == op
        and all(instruction["attributes"][name] == value for name, value in attributes.items())
    )


def fuse_attention(program):
    """
    The instructions of a program with the values that they define, as (instruction, first value). Where softmax(q kT [+ mask]) v is computed and nothing
    else reads what is between, the last product becomes the instruction `attention` of [q, k, v] or [q, k, v, mask]; the others go.
    """
    instructions = []
    value = len(program["inputs"]) + len(program["constants"])
    for instruction in program["instructions"]:
        instructions.append((instruction, value))
        value += RESULTS.get(instruction["op"], 1)
    maker = {first: instruction for instruction, first in instructions}
    readers = [0] * value
    for instruction, _ in instructions:
        for operand in instruction["inputs"]:
            readers[operand] += 1
    for output in program["outputs"]:
        readers[output["value"]] += 1

    gone = set()
    fused = []
    for instruction, first in instructions:
        found = match(instruction, maker, readers)
        if found is None:
            fused.append((instruction, first))
            continue
        replacement, inner = found
        gone |= inner
        fused.append((replacement, first))
    return [(instruction, first) for instruction, first in fused if first not in gone]


def match(instruction, maker, readers):
    """The attention that an instruction completes, and the values that only it reads."""
    if not is_op(instruction, "matmul", transposeA=False, transposeB=False):
        return None
    inner = set()

    def step(value):
        """The maker of a value that nothing else reads."""
        if readers[value] != 1:
            return None
        inner.add(value)
        return maker.get(value)

    weights, values = instruction["inputs"]
    softmax = step(weights)
    if not is_op(softmax, "softmax", axis=3):
        return None
    scores = step(softmax["inputs"][0])
    mask, by_head = [], None
    if is_op(scores, "reshape"):
        added = step(scores["inputs"][0])
        if not is_op(added, "add"):
            return None
        by_heads, bias = added["inputs"]
        apart = step(by_heads)
        if not is_op(apart, "reshape") or len(apart["attributes"]["shape"]) != 5:
            return None
        batch, groups, per_group, length, keys = by_head = tuple(apart["attributes"]["shape"])
        if scores["attributes"]["shape"] != [batch, groups, per_group * length, keys]:
            return None
        mask = [bias]
        scores = step(apart["inputs"][0])
    if not is_op(scores, "matmul", transposeA=False, transposeB=True):
        return None
    recomputations = {instruction["recomputation"]} | {maker[value]["recomputation"] for value in inner}
    if len(recomputations) > 1:
        return None
    return {
        "op": ATTENTION,
        "attributes": {"byHead": by_head},
        "inputs": [*scores["inputs"], values, *mask],
        "recomputation": instruction["recomputation"],
    }, inner
