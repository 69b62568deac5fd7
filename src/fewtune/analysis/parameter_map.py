"""Parameter map of a tuned model: its tensors by tower, stage and kind.

They are found by sending one image and one prompt through the model. A tensor of the backbone
belongs to the stage that calls its module. What a strategy adds outside of modules belongs to the
stage whose output has a gradient with respect to it. So nothing here knows a strategy, or a
backbone's names: any new strategy is placed as well.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Classifier, Head
from fewtune.model.towers import Activations, Prompts
from fewtune.training.cut import Cuts, find_cuts, with_image

TowerName = Literal["text", "image", "both"]
HEAD = "head"
MATRICES, BIASES, NORM_WEIGHTS, NORM_BIASES, EMBEDDINGS, PROMPTS, ADAPTERS, CLASSIFIER = GROUPS = (
    "matrices",
    "biases",
    "LayerNorm weights",
    "LayerNorm biases",
    "embeddings",
    "prompts",
    "adapters",
    "classifier",
)


@dataclass(frozen=True)
class ParameterGroup:
    """A tensor, or the elements of it that one stage sees; one that stages share is at the first.

    Attributes:
        name: As a run saves it: "model.vision_model...", "head.tokens".
        tower: "both" where the embeddings of both towers meet.
        stage: The stage of the tower that it takes part in; "head" after the last one.
        module: Name of the module that holds it, or of what stands in a module's place.
        group: One of `GROUPS`.
        added: Whether the strategy added it; else it is the backbone's.
        tuned: Whether it counts as a trained parameter of the run.
        mask: Which of its elements the stage sees, in the shape of the tensor; None for all.
    """

    name: str
    tower: TowerName
    stage: str
    module: str
    group: str
    elements: int
    added: bool
    tuned: bool
    mask: Tensor | None = field(default=None, compare=False, repr=False)

    def of(self, tensor: Tensor) -> Tensor:
        """Return the elements (N,) of the tensor, or of its gradient, that this part is."""
        return tensor.flatten() if self.mask is None else tensor[self.mask.to(tensor.device)]


@dataclass(frozen=True)
class Level:
    """One stage of a tower, or the head above it.

    Attributes:
        parts: Its tensors, in the order in which their modules are called.
        entering: Tensors that a hook puts into what enters it; the head has none.
    """

    tower: TowerName
    stage: str
    parts: tuple[ParameterGroup, ...]
    entering: tuple[ParameterGroup, ...] = ()

    @property
    def tuned(self) -> int:
        """Trained parameters."""
        return sum(part.elements for part in (*self.parts, *self.entering) if part.tuned)


@dataclass(frozen=True)
class ParameterMap:
    """The two towers of a tuned model from input to output, and the head.

    Attributes:
        levels: Of the text tower, then of the image tower, then where both meet. The text tower
            has none where no text is encoded.
        cuts: How many leading stages of each tower nothing trained influences.
        own_decision: Whether the strategy decides otherwise than by similarity or a linear layer.
    """

    levels: tuple[Level, ...]
    cuts: Cuts
    classifier: Classifier
    own_decision: bool

    def tower(self, name: TowerName) -> tuple[Level, ...]:
        """Return the levels of one tower, input first."""
        return tuple(level for level in self.levels if level.tower == name)

    @property
    def parts(self) -> tuple[ParameterGroup, ...]:
        """Every tensor of the towers that are used, of the head, and what is tuned elsewhere."""
        return tuple(part for level in self.levels for part in (*level.entering, *level.parts))

    @property
    def tuned(self) -> tuple[ParameterGroup, ...]:
        """What the run trains."""
        return tuple(part for part in self.parts if part.tuned)


Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class _Use:
    """That a stage, or what a hook puts into it, makes use of a tensor.

    Attributes:
        seen: Where the gradient is not 0, for tensors of the head.
    """

    tower: TowerName
    stage: str
    entering: bool = False
    seen: Tensor = field(default_factory=lambda: torch.empty(0))


Uses = dict[str, list[_Use]]


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
    """
    cuts = find_cuts(head, classes)
    own = {f"head.{n}": t for n, t in (*head.named_parameters(), *head.named_buffers())
           if t.is_floating_point()}  # fmt: skip
    uses: Uses = defaultdict(list)
    order: list[tuple[TowerName, str]] = []
    with _differentiable(own.values()), torch.enable_grad():
        for tower, batch in _batches(head, classes):
            order += [(tower, stage.name) for stage in batch.tower.stages()]
            _trace_tower(tower, batch, head.model, own, uses)
            order.append((tower, HEAD))
        _trace_head(head, classes, own, uses)
    order.append(("both", HEAD))
    # What is tuned and not used, as text prompts where a linear layer decides.
    for name in (*own, *(f"model.{name}" for name in head.model.tuned())):
        uses[name] = uses[name] or [_Use("both", HEAD)]
    placed = list(_placed(head, own, uses))
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
        one = model.encode(Prompts(prompts.texts[:1], prompts.owner[:1], prompts.classes))
        yield "text", with_image(head, one)
    yield "image", model.pixels(_noise(1, 3, size, size))


def _noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _trace_tower(
    tower: TowerName, batch: Activations, model: DualEncoder, own: Tensors, uses: Uses
) -> None:
    names = {id(parameter): f"model.{name}" for name, parameter in model.net.named_parameters()}
    injected = [replacement for _, replacement in replaced_modules(model).values()]
    x, rows = batch.x, batch.rows
    for stage in batch.tower.stages():
        for hook in batch.tower.hooks.get(stage.name, ()):
            x = hook(x, rows)
            _note(x, _Use(tower, stage.name, entering=True), own, uses)
            x = x.detach()
        with _called() as modules:
            x = stage.run(x, rows)
        for module in modules:
            # What was injected may use what it holds without calling it.
            for parameter in module.parameters(recurse=any(module is new for new in injected)):
                name = names.get(id(parameter))
                if name and name not in uses:
                    uses[name].append(_Use(tower, stage.name))
        _note(x, _Use(tower, stage.name), own, uses)
        x = x.detach()


@contextlib.contextmanager
def _called() -> Iterator[list[nn.Module]]:
    """Within this context modules are noted as they are called."""
    modules: list[nn.Module] = []
    handle = register_module_forward_pre_hook(lambda module, _: modules.append(module))
    try:
        yield modules
    finally:
        handle.remove()


def _note(y: Tensor, use: _Use, own: Tensors, uses: Uses) -> None:
    """Note which tensors of the head `y` depends on."""
    if not (y.requires_grad and own):
        return
    weights = _noise(*y.shape).to(y)
    found = torch.autograd.grad(y, list(own.values()), weights, allow_unused=True)
    for name, gradient in zip(own, found, strict=True):
        if gradient is not None:
            uses[name].append(replace(use, seen=gradient != 0))


def _trace_head(head: Head, classes: ClassSet, own: Tensors, uses: Uses) -> None:
    """Note what the head does to embeddings (of noise), and what it decides by."""
    model = head.model
    z = _noise(1, model.dim).to(model.device)
    text = None
    if head.classifier == "text":
        prompts = model.encode(head.prompts(classes))
        w = _noise(len(prompts.x), model.dim).to(model.device)
        text = replace(prompts, x=w, at=len(model.text.stages()))
        _note(head.text(text.embeddings(), classes.names), _Use("text", HEAD), own, uses)
    _note(head.image(z), _Use("image", HEAD), own, uses)
    rest = {name: tensor for name, tensor in own.items() if name not in uses}
    images = Activations(model.image, z, len(model.image.stages()))
    _note(head(images, text).logits, _Use("both", HEAD), rest, uses)


def _placed(head: Head, own: Tensors, uses: Uses) -> Iterator[tuple[ParameterGroup, bool]]:
    """Yield each part, in the order of use, and whether a hook puts it into its stage."""
    replaced = replaced_modules(head.model)
    every = {f"model.{n}": p for n, p in head.model.net.named_parameters()} | dict(own)
    tuned = {f"model.{name}" for name in head.model.tuned()}
    tuned |= {f"head.{name}" for name, _ in head.named_parameters()}
    for name, places in uses.items():
        for use, seen in _shares(every[name], places):
            module = _module(name, head, replaced)
            added = name in tuned and name.removeprefix("model.") not in head.model.initial
            brought = replaced[module][1] if added and module in replaced else None
            part = ParameterGroup(
                name=name,
                tower=use.tower,
                stage=use.stage,
                module=module,
                group=_group(name, head, brought, use),
                elements=every[name].numel() if seen is None else int(seen.sum()),
                added=added or name.startswith("head."),
                tuned=name in tuned,
                mask=seen,
            )
            yield part, use.entering


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
