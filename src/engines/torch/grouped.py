"""
Products of rows with the matrices of their groups, one group after the other. How many rows each has is read on the host: on a GPU, programs with such products wait for it, and are not
recorded as graphs.
"""

import torch
from ops import narrowed


def groups_with_rows(sizes):
    """(group, its rows) for each group that has any."""
    start = 0
    for group, size in enumerate(sizes.tolist()):
        if size > 0:
            yield group, slice(start, start + size)
        start += size


def matmul_by_group(a: torch.Tensor, b: torch.Tensor, sizes: torch.Tensor, transpose_b: bool) -> torch.Tensor:
    matrices = b.mT if transpose_b else b
    product = a.new_zeros(a.shape[0], matrices.shape[2])
    for group, rows in groups_with_rows(sizes):
        product[rows] = torch.mm(a[rows], matrices[group])
    return product


@torch.library.custom_op("pipeline::grouped_matmul", mutates_args=())
def opaque_matmul(a: torch.Tensor, b: torch.Tensor, sizes: torch.Tensor, transpose_b: bool) -> torch.Tensor:
    return matmul_by_group(a, b, sizes, transpose_b)


@opaque_matmul.register_fake
def _(a, b, sizes, transpose_b):
    return a.new_empty(a.shape[0], b.shape[1 if transpose_b else 2])


def outer_by_group(a: torch.Tensor, b: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    products = a.new_zeros(sizes.shape[0], a.shape[1], b.shape[1])
    for group, rows in groups_with_rows(sizes):
        products[group] = torch.mm(a[rows].T, b[rows])
    return products


@torch.library.custom_op("pipeline::grouped_outer", mutates_args=())
def opaque_outer(a: torch.Tensor, b: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    return outer_by_group(a, b, sizes)


@opaque_outer.register_fake
def _(a, b, sizes):
    return a.new_empty(sizes.shape[0], a.shape[1], b.shape[1])


def grouped_matmul(a, b, sizes, transpose_b, half=None, widened=False):
    (a, b), widen = narrowed(half, widened, a, b)
    product = torch.ops.pipeline.grouped_matmul.default(a, b, sizes, transpose_b)
    return product.float() if widen else product


def grouped_outer(a, b, sizes, half=None, widened=False):
    (a, b), widen = narrowed(half, widened, a, b)
    products = torch.ops.pipeline.grouped_outer.default(a, b, sizes)
    return products.float() if widen else products
