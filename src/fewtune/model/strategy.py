"""Strategy: a frozen value with one method, which changes CLIP, and a default recipe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from fewtune.core.errors import ConfigError
from fewtune.core.fields import Frozen
from fewtune.core.spec import InferenceType, Recipe
from fewtune.core.task import ClassSet

if TYPE_CHECKING:  # they load torch, which the fields of a strategy do without
    from collections.abc import Callable

    from fewtune.model.dual_encoder import DualEncoder
    from fewtune.model.head import Classifier, Head

    Attach = Callable[[DualEncoder, ClassSet, Head | None], Head]


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    Attributes:
        attach: Changes the model and makes the head; receives the previous phase's head or None.
        recipe: How this stretch is trained.
    """

    name: str
    attach: Attach
    recipe: Recipe


class Strategy(Frozen, ABC):
    """A fine-tuning method: its fields are its hyper-parameters, its flags and its record.

    Class attributes:
        version: Raised when equal fields come to mean another computation.
        title: The method's name as its paper writes it.
        citation: BibTeX of the paper, "" for none; its closing brace has a line of its own.
        recipe: The default recipe, None for a strategy that trains nothing.
        source: Where the recipe is from: "paper", "authors' code" or "ours".
        ours: Recipe fields that are ours although `source` names another.
        uses: Labels and texts that it learns from; in brackets, what published numbers needed more.
        types: The inference types that the strategy offers.
        starts_as_zero_shot: Whether the untrained strategy gives zero-shot CLIP's scores.
    """

    version: ClassVar[int] = 1
    title: ClassVar[str]
    citation: ClassVar[str] = ""
    recipe: ClassVar[Recipe | None] = None
    source: ClassVar[str] = "ours"
    ours: ClassVar[tuple[str, ...]] = ()
    uses: ClassVar[str] = "training labels, class prompts"
    types: ClassVar[tuple[InferenceType, ...]] = ("vision-language", "vision")
    starts_as_zero_shot: ClassVar[bool] = True

    type: InferenceType = Field(
        "vision-language",
        description="decide by similarity to class prompts, or by a trained linear head (vision)",
    )

    def model_post_init(self, context: Any) -> None:
        """Refuse an inference type that the strategy does not offer."""
        if self.type not in self.types:
            raise ConfigError(
                f"{self.name()} has no --type {self.type}.",
                hint=f"Use --type {self.types[0]}, or another strategy: `fewtune list strategies`.",
            )

    @classmethod
    def name(cls) -> str:
        """Return the strategy's name: that of its file, with dashes."""
        return cls.__module__.rpartition(".")[2].replace("_", "-")

    @classmethod
    def citation_key(cls) -> str:
        """Return the key of the citation, "" for none."""
        return cls.citation.partition("{")[2].partition(",")[0].strip()

    @property
    def classifier(self) -> Classifier:
        """The head's classifier that belongs to the inference type."""
        return "linear" if self.type == "vision" else "text"

    @abstractmethod
    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Unfreeze, inject or hook what is to be trained, and return the head."""

    def recipe_for(self, shots: int | None) -> Recipe | None:
        """Return the default recipe for a number of images per class, None if unknown: `recipe`."""
        return self.recipe

    def phases(self, recipe: Recipe) -> tuple[Phase, ...]:
        """Return the stretches of training; by default one."""
        return (Phase("tune", lambda model, classes, _: self.attach(model, classes), recipe),)
