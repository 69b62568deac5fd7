"""Places of the tensors of a tuned model, found by sending one image and one prompt through it.

A tensor belongs to the stage whose output has a gradient with respect to it. So nothing here knows
a strategy, or a backbone's names: any new strategy is placed as well.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fewtune.analysis.parameter_map import (
    ADAPTERS,
    BIASES,
    CLASSIFIER,
    EMBEDDINGS,
    HEAD,
    MATRICES,
    NORM_BIASES,
    NORM_WEIGHTS,
    PROMPTS,
    Level,
    ParameterGroup,
    ParameterMap,
    TowerName,
)
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.towers import Activations, Prompts
from fewtune.training.cut import find_cuts

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class _Use:
    """That the output of a stage, or what a hook puts into it, depends on a tensor.

    Attributes:
        order: Place among the modules that the stage calls.
        seen: Where the gradient is not 0, for tensors of the head.
    """

    tower: TowerName
    stage: str
    entering: bool
    order: int
    seen: Tensor


def replaced_modules(model: DualEncoder) -> dict[str, tuple[nn.Module, nn.Module]]:
    """Return {name: (module of the backbone, what stands in its place)} of injected modules."""
    now = dict(model.net.named_modules())
    with model.original():
        before = dict(model.net.named_modules())
    changed = {n: (m, now[n]) for n, m in before.items() if n in now and now[n] is not m}
    return {name: pair for name, pair in changed.items() if not _above(name, changed)}


def map_parameters(head: Head, classes: ClassSet) -> ParameterMap:
    """Return where each tensor of a head and its model is.

    Args:
        head: As it was attached, in evaluation mode.
        classes: The training classes.
    """
    cuts = find_cuts(head.model, head, classes)
    tensors = _tensors(head)
    uses: dict[str, list[_Use]] = defaultdict(list)
    order: list[tuple[TowerName, str]] = []
    with _differentiable(tensors.values()), torch.enable_grad():
        for tower, batch in _batches(head, classes):
            order += [(tower, stage.name) for stage in batch.tower.stages()]
            _trace_tower(tower, batch, head.model.net, tensors, uses)
            order.append((tower, HEAD))
        _trace_head(head, classes, tensors, uses)
    order.append(("both", HEAD))
    placed = list(_placed(head, tensors, uses, order))
    levels = tuple(
        Level(
            tower,
            stage,
            tuple(p for p, enters in placed if (p.tower, p.stage) == (tower, stage) and not enters),
            tuple(p for p, enters in placed if (p.tower, p.stage) == (tower, stage) and enters),
        )
        for tower, stage in order
    )
    return ParameterMap(levels, cuts, head.classifier, type(head).forward is not Head.forward)


def _above(name: str, others: Iterable[str]) -> str:
    """Return the one of `others` that `name` lies under, or ""."""
    return next((other for other in others if name.startswith(f"{other}.")), "")


def _tensors(head: Head) -> dict[str, Tensor]:
    """Return every floating-point tensor of the model and the head, by the name it is saved by."""
    tensors: dict[str, Tensor] = {f"model.{n}": p for n, p in head.model.net.named_parameters()}
    tensors.update((f"head.{name}", p) for name, p in head.named_parameters())
    tensors.update((f"head.{n}", b) for n, b in head.named_buffers() if b.is_floating_point())
    return tensors


@contextlib.contextmanager
def _differentiable(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Within this context all these tensors require a gradient."""
    before = [(tensor, tensor.requires_grad) for tensor in tensors]
    try:
        for tensor, _ in before:
            tensor.requires_grad_(True)
        yield
    finally:
        for tensor, required in before:
            tensor.requires_grad_(required)


def _batches(head: Head, classes: ClassSet) -> Iterator[tuple[TowerName, Activations]]:
    """Yield one prompt, if prompts are encoded, and one image of noise."""
    model, size = head.model, head.model.preprocess.size_px
    if head.classifier == "text":
        prompts = head.prompts(classes)
        yield "text", model.encode(Prompts(prompts.texts[:1], prompts.owner[:1], prompts.classes))
    yield "image", model.pixels(_noise(1, 3, size, size))


def _noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _trace_tower(
    tower: TowerName,
    batch: Activations,
    net: nn.Module,
    tensors: Tensors,
    uses: dict[str, list[_Use]],
) -> None:
    x, rows = batch.x, batch.rows
    for stage in batch.tower.stages():
        for hook in batch.tower.hooks.get(stage.name, ()):
            x = hook(x, rows)
            _note(x, tower, stage.name, True, [], tensors, uses)
            x = x.detach()
        with _called(net) as modules:
            x = stage.run(x, rows)
        _note(x, tower, stage.name, False, modules, tensors, uses)
        x = x.detach()


@contextlib.contextmanager
def _called(net: nn.Module) -> Iterator[list[str]]:
    """Within this context the names of modules that hold parameters are noted as they are called.

    Calls through a replaced module are its own, then those of what it holds.
    """
    names: list[str] = []

    def note(name: str) -> None:
        names.append(name)

    hooks = [
        module.register_forward_pre_hook(lambda module, inputs, name=name: note(name))
        for name, module in net.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    try:
        yield names
    finally:
        for hook in hooks:
            hook.remove()


def _note(
    y: Tensor,
    tower: TowerName,
    stage: str,
    entering: bool,
    modules: Sequence[str],
    tensors: Tensors,
    uses: dict[str, list[_Use]],
) -> None:
    """Note which tensors `y` depends on."""
    if not y.requires_grad:
        return
    weights = _noise(*y.shape).to(y)
    found = torch.autograd.grad(y, list(tensors.values()), weights, allow_unused=True)
    for name, gradient in zip(tensors, found, strict=True):
        if gradient is not None:
            holder = name.removeprefix("model.").rpartition(".")[0]
            order = modules.index(holder) if holder in modules else len(modules)
            seen = gradient != 0 if name.startswith("head.") else torch.empty(0)
            uses[name].append(_Use(tower, stage, entering, order, seen))


def _trace_head(
    head: Head, classes: ClassSet, tensors: Tensors, uses: dict[str, list[_Use]]
) -> None:
    """Note what the head does to embeddings (of noise), and what it decides by."""
    model = head.model
    own = {name: t for name, t in tensors.items() if name.startswith("head.")}
    z = _noise(1, model.dim).to(model.device)
    text = None
    if head.classifier == "text":
        prompts = model.encode(head.prompts(classes))
        w = _noise(len(prompts.x), model.dim).to(model.device)
        text = replace(prompts, x=w, at=len(model.text.stages()))
        _note(head.text(text.embeddings()), "text", HEAD, False, [], own, uses)
    _note(head.image(z), "image", HEAD, False, [], own, uses)
    rest = {name: tensor for name, tensor in own.items() if name not in uses}
    if rest:
        images = Activations(model.image, z, len(model.image.stages()))
        _note(head(images, text).logits, "both", HEAD, False, [], rest, uses)


def _placed(
    head: Head,
    tensors: Tensors,
    uses: Mapping[str, list[_Use]],
    order: Sequence[tuple[TowerName, str]],
) -> Iterator[tuple[ParameterGroup, bool]]:
    """Yield each part, and whether a hook puts it into its stage, by stage and order of calls."""
    replaced = replaced_modules(head.model)
    tuned = {f"model.{name}" for name in head.model.tuned()}
    tuned |= {f"head.{name}" for name, _ in head.named_parameters()}
    found: list[tuple[int, ParameterGroup, bool]] = []
    for name, tensor in tensors.items():
        places = uses.get(name, [])
        if not places and not (name in tuned or name.startswith("head.")):
            continue
        for use, seen in _shares(tensor, places or [_elsewhere(name, head.model, order)]):
            module = _module(name, head, replaced)
            added = name in tuned and name.removeprefix("model.") not in head.model.initial
            brought = replaced[module][1] if added and module in replaced else None
            part = ParameterGroup(
                name=name,
                tower=use.tower,
                stage=use.stage,
                module=module,
                group=_group(name, head, brought, use),
                elements=tensor.numel() if seen is None else int(seen.sum()),
                added=added or name.startswith("head."),
                tuned=name in tuned,
                mask=seen,
            )
            found.append((use.order, part, use.entering))
    yield from ((part, enters) for _, part, enters in sorted(found, key=lambda f: f[0]))


def _shares(tensor: Tensor, uses: Sequence[_Use]) -> Iterator[tuple[_Use, Tensor | None]]:
    """Yield the uses that a tensor is listed at, with the elements of each; None for all.

    A tensor whose stages see different elements, as the prompts of each block, is divided; what no
    stage sees goes to the first. Another one that is shared is listed at the first stage.
    """
    masks = [use.seen for use in uses]
    apart = len(uses) > 1 and all(mask.numel() and bool(mask.any()) for mask in masks)
    if not apart or int(torch.stack(masks).sum(0).max()) > 1:
        yield uses[0], None
        return
    yield uses[0], ~torch.stack(masks[1:]).any(0)
    yield from zip(uses[1:], masks[1:], strict=True)


def _elsewhere(name: str, model: DualEncoder, order: Sequence[tuple[TowerName, str]]) -> _Use:
    """Return the place of a tensor that no score depends on: its tower's, if that is used."""
    used = [tower for tower, _ in order]
    for tower, prefix in (("text", model.text.prefix), ("image", model.image.prefix)):
        if tower in used and name.startswith(f"model.{prefix}."):
            return _Use("text" if tower == "text" else "image", HEAD, False, 0, torch.empty(0))
    return _Use("both", HEAD, False, 0, torch.empty(0))


def _module(name: str, head: Head, replaced: Iterable[str]) -> str:
    """Return what holds a tensor: a module without others in it, or the tensor's own name."""
    kind, _, inner = name.partition(".")
    if kind == "model" and (injected := _above(inner, replaced)):
        return injected
    holder = inner.rpartition(".")[0]
    owner = (head.model.net if kind == "model" else head).get_submodule(holder)
    return inner if not holder or next(owner.children(), None) is not None else holder


def _group(name: str, head: Head, replacement: nn.Module | None, use: _Use) -> str:
    """Return the kind of a tensor.

    Args:
        replacement: What stands in the place of a module and brought this tensor; None otherwise.
    """
    kind, _, inner = name.partition(".")
    if kind == "head":
        if head.classifier == "linear" and inner.startswith("linear."):
            return CLASSIFIER
        return PROMPTS if use.entering else ADAPTERS
    if replacement is not None:
        return MATRICES if hasattr(replacement, "merged") else ADAPTERS
    if use.stage == "embed":
        return EMBEDDINGS
    holder, _, attribute = inner.rpartition(".")
    if isinstance(head.model.net.get_submodule(holder), nn.LayerNorm):
        return NORM_BIASES if attribute == "bias" else NORM_WEIGHTS
    return BIASES if attribute == "bias" else MATRICES
