"""2SFS: the norms of both encoders are trained first, then a classifier on their frozen features.

Farina et al., "Rethinking Few-Shot Adaptation of Vision-Language Models in Two Stages", CVPR 2025:
a share of the steps (60 %) trains the LayerNorms by cross-entropy over class prompts;
then W (C, D) starts as the adapted class embeddings and is trained alone, with logits
scale * cos(z, w). Classes of training are decided by W, others by their prompts (selective
inference).

As in the authors' code, the norms are those within the blocks: their list holds the first and last
norms twice, which freezes them. Differs from it: similarity and loss are computed in fp32 instead
of fp16; the prompts are those of the task (theirs: "a photo of a {}." for every dataset).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from fewtune.core.spec import Recipe
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.strategy import Phase, Strategy


class SelectiveHead(Head):
    """Holds W (C, D), which stands for the classes of training."""

    def __init__(self, model: DualEncoder, classes: ClassSet) -> None:
        super().__init__(model, classes)
        model.freeze()
        adapted = model.encode_frozen(self.prompts(classes)).embeddings()
        self.rows = nn.Parameter(F.normalize(adapted, dim=-1))

    def text(self, w: Tensor, names: tuple[str, ...]) -> Tensor:
        """Put W in the place of the classes of training: (C, D) -> (C, D)."""
        if names == self.classes.names:
            return self.rows
        place = {name: row for row, name in enumerate(self.classes.names)}
        known = [(column, place[name]) for column, name in enumerate(names) if name in place]
        if not known:
            return w
        columns, rows = (torch.tensor(part, dtype=torch.long) for part in zip(*known, strict=True))
        return w.index_copy(0, columns.to(w.device), self.rows[rows.to(w.device)])


class TwoStages(Strategy):
    """Existing norms, then a classifier that starts as the class prompts."""

    title = "2SFS"
    citation = """@inproceedings{farina2025two,
  title = {Rethinking Few-Shot Adaptation of Vision-Language Models in Two Stages},
  author = {Matteo Farina and Massimiliano Mancini and Giovanni Iacca and Elisa Ricci},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2025},
}"""
    recipe = Recipe(
        optimizer="adamw",
        lr=2e-4,
        weight_decay=1e-2,
        min_lr=1e-6,
        length=300,
        length_unit="steps-per-shot",
    )
    source = "authors' code"
    types = ("vision-language",)

    share: float = Field(0.6, gt=0, lt=1, description="share of the steps that train the norms")

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Unfreeze the norms within the blocks."""
        blocks = (*model.text.blocks, *model.image.blocks)
        model.unfreeze(*(f"{block}.layer_norm*" for block in blocks))
        return Head(model, classes, self.classifier)

    def phases(self, recipe: Recipe) -> tuple[Phase, ...]:
        """Return the stages, each with a schedule of its own."""
        lengths = (self.share * recipe.length, (1 - self.share) * recipe.length)
        first, second = (recipe.model_copy(update={"length": length}) for length in lengths)
        (norms,) = super().phases(first)

        def classifier(model: DualEncoder, classes: ClassSet, before: Head | None) -> Head:
            return SelectiveHead(model, classes)

        return norms, Phase("classifier", classifier, second)
