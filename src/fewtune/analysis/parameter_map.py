"""Parameter map of a tuned model: its tensors by tower, stage and kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from fewtune.model.head import Classifier
from fewtune.training.cut import Cuts

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
