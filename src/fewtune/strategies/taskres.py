"""TaskRes: a residual on the class embeddings.

Yu et al., "Task Residual for Tuning Vision-Language Models", CVPR 2023, eq. 5: t' = t + alpha * x,
where t are the frozen class embeddings, before they are normalised, and x (C, D) starts at zero
(the "regular base"). In the authors' scripts alpha is 0.5, and 1 for Flowers102; the rate is 2e-3,
and 2e-4 for ImageNet; the epochs are 100 for up to 4 shots, 200 for more.

Differs from the authors' code: several prompts of a class are averaged after normalisation, as for
zero-shot CLIP, and the average gets their mean norm (theirs: the plain mean; equal for one prompt).
The "enhanced base", class embeddings of a text projection tuned beforehand, is not offered: the
authors publish its weights, not how they were trained.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from fewtune.core.spec import Recipe
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.strategy import Strategy
from fewtune.model.towers import Activations, class_means


class ResidualHead(Head):
    """Adds a trained residual (C, D) to the class embeddings."""

    class_bound = True
    norms: Tensor

    def __init__(self, model: DualEncoder, classes: ClassSet, strategy: TaskRes) -> None:
        super().__init__(model, classes, strategy.classifier)
        self.alpha = strategy.alpha
        self.residual = nn.Parameter(torch.zeros(len(classes), model.dim, device=model.device))
        self.register_buffer("norms", embedding_norms(model.encode_frozen(self.prompts(classes))))

    def text(self, w: Tensor, names: tuple[str, ...]) -> Tensor:
        """Return |t| w + alpha * x, where w (C, D) are zero-shot CLIP's embeddings: eq. 5."""
        return self.norms * w + self.alpha * self.residual


def embedding_norms(prompts: Activations) -> Tensor:
    """Return the mean norm of each class' encoded prompts, (P, D) before normalisation: (C, 1)."""
    assert prompts.rows is not None
    norms = prompts.x.float().norm(dim=-1, keepdim=True)
    return class_means(norms, prompts.rows)


class TaskRes(Strategy):
    """Class embeddings are moved; both encoders stay as they are."""

    title = "TaskRes"
    citation = """@inproceedings{yu2023taskres,
  title = {Task Residual for Tuning Vision-Language Models},
  author = {Tao Yu and Zhihe Lu and Xin Jin and Zhibo Chen and Xinchao Wang},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2023},
}"""
    recipe = Recipe(
        batch_size=256,
        drop_last=True,
        optimizer="adam",
        lr=2e-3,
        weight_decay=5e-4,
        schedule_unit="epoch",
        warmup=1,
        warmup_lr=1e-5,
        length=200,
    )
    source = "authors' code"
    types = ("vision-language",)

    alpha: float = Field(
        0.5, gt=0, le=100, description="scale of the residual (authors: 0.5, Flowers102 1)"
    )

    def recipe_for(self, shots: int | None) -> Recipe:
        """Return the authors' recipe, whose length depends on the shots."""
        length = 100 if shots and shots <= 4 else 200
        return self.recipe.model_copy(update={"length": length})

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Add the residual."""
        return ResidualHead(model, classes, self)
