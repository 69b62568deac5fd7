"""Recomputation: rows go through in chunks, and their gradient keeps nothing of the chunks.

Forward: every chunk goes through without a graph; only what comes out is kept. Backward: when the
gradient of what came out is known, a chunk goes through again, with the same random numbers and now
with a graph, which is used and thrown away before the next chunk. So memory grows with the chunk,
not with the rows, for one more forward pass.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import get_device_states, set_device_states

Compute = Callable[[int, Tensor], Tensor]


def in_chunks(compute: Compute, x: Tensor, size: int) -> Tensor:
    """Return `compute(start, x[start : start + size])` of all chunks, one after another.

    All chunks start from the same state of torch's generator on the CPU, and leave it as the whole
    would: their dropout is that of the rows (fewtune.model.dropout).

    Args:
        compute: Row by row, whatever else it depends on; told the number of the first row.
        x: The rows: (N, ...).
        size: Rows of a chunk.
    """
    if not torch.is_grad_enabled():
        return torch.cat([y for y, _ in _forward(compute, x, size)])
    state, devices = torch.get_rng_state(), get_device_states(x)
    leaves = _leaves(compute(0, x[:1]))
    torch.set_rng_state(state)
    set_device_states(*devices)
    out: Tensor = _InChunks.apply(compute, size, x, *leaves)
    return out


class _InChunks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, compute: Compute, size: int, x: Tensor, *leaves: Tensor) -> Tensor:
        """Compute all chunks; `leaves` are what gradients may be wanted of, besides x."""
        kind = x.device.type
        ctx.compute, ctx.size, ctx.leaves = compute, size, leaves
        ctx.mixed = kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        ctx.state = torch.get_rng_state()
        ctx.save_for_backward(x)
        outs, ctx.devices = zip(*_forward(compute, x, size), strict=True)
        return torch.cat(outs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Compute every chunk again and add up the gradients of the leaves."""
        (x,) = ctx.saved_tensors
        kind, dtype, enabled = ctx.mixed
        after = torch.get_rng_state(), get_device_states(x)
        totals: list[Tensor | None] = [None] * len(ctx.leaves)
        of_x = []
        for index, start in enumerate(range(0, len(x), ctx.size)):
            rows = x[start : start + ctx.size].detach().requires_grad_(x.requires_grad)
            torch.set_rng_state(ctx.state)
            set_device_states(*ctx.devices[index])
            with torch.enable_grad(), torch.autocast(kind, dtype, enabled):
                y = ctx.compute(start, rows)
            wanted = (*ctx.leaves, rows) if x.requires_grad else ctx.leaves
            part = grad[start : start + ctx.size]
            found = torch.autograd.grad(y, wanted, part, allow_unused=True)
            totals = [_sum(a, b) for a, b in zip(totals, found, strict=False)]
            of_x.append(found[-1])
        torch.set_rng_state(after[0])
        set_device_states(*after[1])
        return None, None, torch.cat(of_x) if x.requires_grad else None, *totals


def _forward(compute: Compute, x: Tensor, size: int) -> Iterator[tuple[Tensor, Any]]:
    """Yield what comes out of each chunk, and the state of the device's generator before it."""
    state = torch.get_rng_state()
    for start in range(0, len(x), size):
        torch.set_rng_state(state)
        devices = get_device_states(x)
        yield compute(start, x[start : start + size]), devices


def _leaves(y: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors that gradients of y would be accumulated in, as autograd's graph says."""
    found: dict[int, Tensor] = {}
    seen: set[Any] = set()
    todo = [y.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found[id(node.variable)] = node.variable
        todo.extend(following for following, _ in node.next_functions)
    return tuple(found.values())


def _sum(total: Tensor | None, more: Tensor | None) -> Tensor | None:
    if total is None or more is None:
        return more if total is None else total
    return total.add_(more)
