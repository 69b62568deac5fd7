"""Heads: what a strategy adds to CLIP, and how embeddings become class scores and a loss.

A subclass changes one of four places: `image` and `text` transform embeddings, `forward` decides,
`loss` regularises. Every default is zero-shot CLIP.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewtune.core.errors import ConfigError
from fewtune.core.task import ClassSet
from fewtune.model.conditional import embeddings_of_each
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.towers import Activations, Prompts

Classifier = Literal["text", "linear"]


@dataclass(frozen=True)
class Output:
    """What a forward pass yields.

    Attributes:
        logits: (B, C) in fp32.
        image: (B, D) image embeddings after `Head.image`.
        text: (C, D) class embeddings after `Head.text`, (B, C, D) of a conditional head; None for
            a linear classifier.
    """

    logits: Tensor
    image: Tensor
    text: Tensor | None = None


class Head(nn.Module):
    """What a strategy adds; every default is zero-shot CLIP.

    Args:
        model: The backbone, already changed by the strategy. It is no submodule: a head's state
            holds the head's own tensors only.
        classes: The training classes.
        classifier: "text" compares with class prompts; "linear" is a trained layer on the image
            embedding, and then no prompt is ever encoded.

    Attributes:
        class_bound: Whether the head only knows its training classes.
        divisible: Whether the loss of a batch is the weighted sum of the losses of its parts.
        conditional: Whether class prompts depend on the image: `condition` says what it gives to
            them, and hooks in the text tower find that in `TokenBatch.given`.
    """

    class_bound = False
    divisible = True
    conditional = False

    def __init__(
        self, model: DualEncoder, classes: ClassSet, classifier: Classifier = "text"
    ) -> None:
        super().__init__()
        self.model = model
        self.classes = classes
        self.classifier = classifier
        if classifier == "linear":
            self.linear = nn.Linear(model.dim, len(classes), device=model.device)
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)
            self.class_bound = True

    def prompts(self, classes: ClassSet) -> Prompts:
        """Return the texts that stand for each class: names x templates, or descriptions."""
        return Prompts.of(classes)

    def prepare(self, z: Tensor, labels: Tensor) -> None:
        """Fill tensors that `attach` made from support embeddings.

        Args:
            z: (N, V, D): N training images in V views each, unnormalised.
            labels: (N,).
        """

    def image(self, z: Tensor) -> Tensor:
        """Transform image embeddings: (B, D) -> (B, D)."""
        return z

    def text(self, w: Tensor, names: tuple[str, ...]) -> Tensor:
        """Transform class embeddings: (C, D) -> (C, D), or (B, C, D) of a conditional head.

        Args:
            names: C class names, those of training or others.
        """
        return w

    def condition(self, z: Tensor) -> Tensor:
        """Return what images give to the prompts of a conditional head: (B, D) -> (B, K).

        Args:
            z: Image embeddings after `image`, not normalised.
        """
        return z

    def forward(self, images: Activations, classes: Activations | None) -> Output:
        """Score images: logits = scale * cos(z, w), or a linear layer on z; all of it in fp32.

        The linear layer sees z scaled to unit root mean square, so that one learning rate fits
        every backbone.
        """
        # Text first: backward then frees what the images kept before it comes to the text.
        w = None if classes is None or self.conditional else classes.embeddings()
        z = images.embeddings()
        kind = z.device.type
        with torch.autocast(kind, enabled=False):
            z = self.image(z.float())
            given = self.condition(z) if self.conditional else None
        if classes is not None and given is not None:
            w = embeddings_of_each(classes, given, images.first)
        with torch.autocast(kind, enabled=False):
            direction = F.normalize(z.float(), dim=-1)
            if classes is None or w is None or classes.rows is None:
                return Output(self.linear(direction * self.model.dim**0.5), z)
            w = self.text(w, classes.rows.classes)
            directions, scaled = F.normalize(w.float(), dim=-1), self.model.logit_scale * direction
            if self.conditional:
                return Output((directions @ scaled[..., None])[..., 0], z, w)
            return Output(scaled @ directions.T, z, w)

    def loss(self, output: Output, labels: Tensor) -> Tensor:
        """Return the training loss, a scalar: cross-entropy over the classes; labels are (B,).

        To save memory, a batch may be processed in parts, whose losses are added up, weighted by
        their share of the images. This equals the loss of the batch for a mean over images plus
        terms without images (class embeddings, parameters). Other losses, such as those that
        compare the images of a batch, must set `divisible = False`. A head with its own `backward`
        is never divided.
        """
        return F.cross_entropy(output.logits, labels)

    def groups(self, parameters: dict[str, nn.Parameter]) -> list[dict[str, Any]]:
        """Return optimizer groups over the trainable tensors (of model and head, by name)."""
        return [{"params": list(parameters.values())}]

    def backward(self, loss: Tensor) -> None:
        """Fill the gradients of a scalar loss; gradient surgery goes here."""
        loss.backward()  # type: ignore[no-untyped-call]

    def epoch_end(self, epoch: int, epochs: int) -> None:
        """Follow the training (weight averaging); buffers made in `__init__` are resumed."""

    def tune_on_validation(
        self, images: Activations, classes: Activations | None, labels: Tensor
    ) -> None:
        """Choose settings by a closed search on the validation images, after training.

        Args:
            images: (N, D), encoded.
            classes: (P, D), encoded; None for a linear classifier.
            labels: (N,).
        """

    def trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the trained tensors of head and model, under the names they are saved by."""
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                yield f"head.{name}", parameter
        for name, parameter in self.model.tuned().items():
            if parameter.requires_grad:
                yield f"model.{name}", parameter

    def saved(self) -> dict[str, Tensor]:
        """Return the tensors, of any shape, in which this head and its model differ from CLIP."""
        state: dict[str, Tensor] = {f"head.{k}": v for k, v in self.state_dict().items()}
        state.update((f"model.{k}", v.data) for k, v in self.model.tuned().items())
        return state


def score(head: Head, images: Activations, classes: Activations | None) -> Output:
    """Return the scores of B images for C classes.

    Raises:
        ConfigError: `forward` returned anything else than an Output with logits (B, C).
    """
    output: Output | None = head(images, classes)
    names = head.classes.names if classes is None or not classes.rows else classes.rows.classes
    expected = (len(images.x), len(names))
    found = tuple(output.logits.shape) if isinstance(output, Output) else type(output).__name__
    if isinstance(output, Output) and found == expected:
        return output
    raise ConfigError(f"`forward` must return an Output with logits {expected}, found {found}.")
