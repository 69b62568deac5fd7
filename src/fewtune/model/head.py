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

from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.towers import Activations, Prompts

Classifier = Literal["text", "linear"]


@dataclass(frozen=True)
class Output:
    """What a forward pass yields.

    Attributes:
        logits: (B, C) in fp32.
        image: (B, D) image embeddings after `Head.image`.
        text: (C, D) class embeddings after `Head.text`; None for a linear classifier.
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
    """

    class_bound = False
    divisible = True

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
        pairs = [(t, label) for label in range(len(classes)) for t in classes.texts(label)]
        texts, owner = zip(*pairs, strict=True)
        return Prompts(texts, owner, classes.names)

    def prepare(self, z: Tensor, labels: Tensor) -> None:
        """Fill tensors that `attach` made from support embeddings.

        Args:
            z: (N, V, D): N training images in V views each, unnormalised.
            labels: (N,).
        """

    def image(self, z: Tensor) -> Tensor:
        """Transform image embeddings: (B, D) -> (B, D)."""
        return z

    def text(self, w: Tensor) -> Tensor:
        """Transform class embeddings: (C, D) -> (C, D)."""
        return w

    def forward(self, images: Activations, classes: Activations | None) -> Output:
        """Score images: logits = scale * cos(z, w), or a linear layer on z; all of it in fp32.

        The linear layer sees z scaled to unit root mean square, so that one learning rate fits
        every backbone.
        """
        # Text first: backward then frees what the images kept before it comes to the text.
        w = None if classes is None else classes.embeddings()
        z = images.embeddings()
        with torch.autocast(z.device.type, enabled=False):
            w, z = None if w is None else self.text(w), self.image(z.float())
            direction = F.normalize(z.float(), dim=-1)
            if self.classifier == "linear":
                return Output(self.linear(direction * self.model.dim**0.5), z)
            assert w is not None
            logits = self.model.logit_scale * direction @ F.normalize(w.float(), dim=-1).T
        return Output(logits, z, w)

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
