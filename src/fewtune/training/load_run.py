"""A run folder as a working classifier: attach as in training, then load the trained tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from fewtune.backbones import clip
from fewtune.backbones.checkpoint import describe
from fewtune.backbones.model_names import resolve as resolve_backbone
from fewtune.core.errors import AdapterError, ConfigError, DataError
from fewtune.core.run_config import AskedPrecision
from fewtune.core.spec import Precision, Spec
from fewtune.core.task import DEFAULT_TEMPLATES, ClassSet, Example
from fewtune.model.head import Head
from fewtune.model.load_strategy import load_strategy
from fewtune.model.strategy import Strategy
from fewtune.strategies.zero_shot import ZeroShot
from fewtune.training import scoring
from fewtune.training.device import choose_device, choose_precision, use_threads
from fewtune.training.image_loader import ImageLoader
from fewtune.training.run_folder import RunFolder
from fewtune.training.run_model import attach, set_preprocessing, used_classes


@dataclass(frozen=True)
class Tuned:
    """A classifier in memory.

    Attributes:
        head: The head; `head.model` is the backbone.
        classes: The classes it chooses among.
        spec: What it was trained with; None for zero-shot without a run.
    """

    head: Head
    classes: ClassSet
    precision: Precision
    spec: Spec | None = None

    def scores(self, examples: Sequence[Example]) -> Tensor:
        """Return logits (N, C) in fp32; a softmax over C turns them into probabilities."""
        pixels = ImageLoader(examples, self.head.model.preprocess)
        return scoring.scores(self.head, self.classes, pixels, self.precision)

    def with_classes(self, classes: ClassSet) -> Tuned:
        """Return the same classifier for other classes.

        Raises:
            DataError: The strategy only knows the classes it was trained on.
        """
        if self.head.class_bound and classes.names != self.classes.names:
            raise DataError(
                f"This run only knows its {len(self.classes)} training classes.",
                hint="Train with --type vision-language to use other classes.",
            )
        return replace(self, classes=classes)


def load_run(
    path: Path,
    device: str = "auto",
    precision: AskedPrecision = "auto",
    threads: int | None = None,
    backbone: str | None = None,
) -> Tuned:
    """Load a complete run.

    Args:
        precision: "auto" is that in which the run was evaluated. On a CPU with bf16 units a
            probability differs by up to 0.02 between the two.
        threads: CPU threads of this process from now on; None for as many as torch chose.
        backbone: Where the backbone is now, if it has moved; its contents must be the same.

    Raises:
        RunError: Not a complete run folder, or of a newer format.
        AdapterError: The backbone changed since, or the adapter file does not fit.
    """
    folder = RunFolder(path)
    folder.record()
    spec = folder.spec()
    strategy = strategy_of(spec)
    name = backbone or find_backbone(folder, spec)
    source = resolve_backbone(name)
    if source.kind == "local":
        folder.refuse_changed_backbone(source.path)
    model = clip.load(name)
    if model.revision != spec.revision:
        raise AdapterError(
            f"The run was trained on {spec.backbone} at {spec.revision}, "
            f"but {model.revision} is here.",
            hint="Say where that one is: --backbone PATH. Or train again.",
        )
    model.name = spec.backbone
    model.net.to(choose_device(device))
    set_preprocessing(model, spec.model_dump())
    classes = used_classes(folder.classes(), spec.templates)
    head = attach(strategy, model, classes, spec.recipe, spec.seed)
    folder.load_adapter(head)
    use_threads(threads)
    return Tuned(head, classes, spec.precision if precision == "auto" else precision, spec)


def find_backbone(folder: RunFolder, spec: Spec) -> str:
    """Return the name or the path at which the backbone of a run is now.

    Raises:
        AdapterError: It is neither where the run's spec says nor where the run has found it.
    """
    stored = folder.backbone_path()
    for name in dict.fromkeys(filter(None, (spec.backbone, stored))):
        try:
            if resolve_backbone(name).kind != "local" or describe(name).revision == spec.revision:
                return name
        except ConfigError:  # a path that is not here
            continue
    if stored is None or Path(stored).exists():
        return spec.backbone
    raise AdapterError(
        f"The backbone of this run was at {stored}, and is not there any more.",
        hint="Say where it is now: --backbone PATH",
    )


def strategy_of(spec: Spec) -> Strategy:
    """Return the strategy that a spec names, with its options.

    Raises:
        AdapterError: The installed strategy has another version.
    """
    kind = load_strategy(spec.strategy)
    if kind.version != spec.version:
        raise AdapterError(
            f"The run used version {spec.version} of {spec.strategy}; version {kind.version} is "
            "installed.",
            hint="Train again, or install the FewTune that is named in record.json.",
        )
    return kind.model_validate(spec.options)


def zero_shot(
    names: Sequence[str],
    backbone: str,
    device: str = "auto",
    templates: Sequence[str] = DEFAULT_TEMPLATES,
    precision: AskedPrecision = "auto",
    threads: int | None = None,
) -> Tuned:
    """Return the zero-shot classifier for a list of class names."""
    use_threads(threads)
    classes = ClassSet(tuple(names), tuple(templates))
    model = clip.load(backbone)
    model.net.to(choose_device(device))
    head = ZeroShot().attach(model, classes).eval()
    return Tuned(head, classes, choose_precision(model.device, precision))
