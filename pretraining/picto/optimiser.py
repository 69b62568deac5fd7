"""Muon for the matrices of the blocks, Adam with decoupled decay for everything else.

Muon: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the momentum
of a matrix is replaced by its nearest orthogonal matrix, found with a quintic Newton-Schulz
iteration. Matrices of one shape are treated together, which is faster on a CPU.
"""

from collections import defaultdict

import torch
from torch import nn

# Coefficients of the iteration, from the same source.
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalise(stack: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Nearest orthogonal matrices, roughly, of a stack (N, R, C)."""
    wide = stack.shape[-2] <= stack.shape[-1]
    x: torch.Tensor = stack if wide else stack.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = QUINTIC
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.mT


class MuonAdam:
    """Both rules over named parameters, with one state that saves to flat tensors."""

    def __init__(
        self,
        named: dict[str, nn.Parameter],
        matrix_rate: float = 0.006,
        other_rate: float = 1e-3,
        head_rate: float = 5e-4,
        decay: float = 0.01,
    ) -> None:
        """Two-dimensional parameters named `...layers...` go to Muon.

        Parameters named `head...` have a rate of their own: Adam moves the vectors of rare words
        as far as those of common ones, and at the rate of the tower they drown the prior.
        """
        self.matrices = {n: p for n, p in named.items() if p.ndim == 2 and ".layers." in n}
        self.others = {n: p for n, p in named.items() if n not in self.matrices}
        self.matrix_rate, self.other_rate, self.decay = matrix_rate, other_rate, decay
        self.head_rate = head_rate
        self.first = {n: torch.zeros_like(p) for n, p in named.items()}
        self.second = {n: torch.zeros_like(p) for n, p in self.others.items()}
        self.steps = 0

    def state(self) -> dict[str, torch.Tensor]:
        """Flat tensors for `load`."""
        state = {f"first.{n}": t for n, t in self.first.items()}
        state |= {f"second.{n}": t for n, t in self.second.items()}
        return state | {"steps": torch.tensor(self.steps)}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Continues from `state`."""
        for name, tensor in self.first.items():
            tensor.copy_(state[f"first.{name}"])
        for name, tensor in self.second.items():
            tensor.copy_(state[f"second.{name}"])
        self.steps = int(state["steps"])

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """One update with both rates times `factor`; clears the gradients."""
        self.steps += 1
        head = [n for n in self.others if n.startswith("head.")]
        self._adam([n for n in self.others if n not in head], self.other_rate * factor)
        self._adam(head, self.head_rate * factor)
        self._muon(self.matrix_rate * factor)
        for parameter in (*self.matrices.values(), *self.others.values()):
            parameter.grad = None

    def _adam(
        self, candidates: list[str], rate: float, betas: tuple[float, float] = (0.9, 0.98)
    ) -> None:
        names = [n for n in candidates if self.others[n].grad is not None]
        if not names:
            return
        weights: list[torch.Tensor] = [self.others[n] for n in names]
        grads = [g for n in names if (g := self.others[n].grad) is not None]
        first, second = [self.first[n] for n in names], [self.second[n] for n in names]
        torch._foreach_lerp_(first, grads, 1 - betas[0])
        torch._foreach_mul_(second, betas[1])
        torch._foreach_addcmul_(second, grads, grads, 1 - betas[1])
        root = torch._foreach_sqrt(torch._foreach_div(second, 1 - betas[1] ** self.steps))
        torch._foreach_add_(root, 1e-8)
        torch._foreach_addcdiv_(weights, first, root, -rate / (1 - betas[0] ** self.steps))

    def _muon(self, rate: float, momentum: float = 0.95) -> None:
        shapes: defaultdict[torch.Size, list[str]] = defaultdict(list)
        for name, parameter in self.matrices.items():
            if parameter.grad is not None:
                shapes[parameter.shape].append(name)
        for shape, names in shapes.items():
            updates = []
            for name in names:
                grad = self.matrices[name].grad
                assert grad is not None
                self.first[name].lerp_(grad, 1 - momentum)
                updates.append(grad.lerp(self.first[name], momentum))
            scale = max(1.0, shape[0] / shape[1]) ** 0.5
            stacked = orthogonalise(torch.stack(updates)).unbind()
            for name, update in zip(names, stacked, strict=True):
                weight = self.matrices[name]
                weight.mul_(1 - rate * self.decay).add_(update, alpha=-rate * scale)
