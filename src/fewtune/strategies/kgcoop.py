"""KgCoOp: context vectors as in CoOp, whose class embeddings stay near those of the hand prompts.

Yao et al., "Visual-Language Prompt Tuning with Knowledge-guided Context Optimization", CVPR 2023:
L = cross-entropy + lambda * (1 - mean_k cos(t_k, t_k^hand)), where t_k^hand is what
the untouched text encoder makes of the hand prompts. Four shared vectors start as "a photo of a".

The hand prompts are those of the task; the authors' list is `--prompts clipfit`. Differs from the
authors' code: several hand prompts are averaged; the term is computed in fp32 instead of fp16.
"""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from fewtune.core.spec import Recipe
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head, Output
from fewtune.strategies.coop import ContextHead, CoOp


class GuidedHead(ContextHead):
    """A context, and the class embeddings of the hand prompts (C, D)."""

    def __init__(self, model: DualEncoder, classes: ClassSet, strategy: KgCoOp) -> None:
        super().__init__(model, classes, strategy)
        self.lambda_ = strategy.lambda_
        self.hand = model.class_embeddings(classes)

    def loss(self, output: Output, labels: Tensor) -> Tensor:
        """Return cross-entropy plus lambda times the distance to the hand prompts, a scalar."""
        assert output.text is not None
        similarity = F.cosine_similarity(output.text.float(), self.hand, dim=-1)
        return super().loss(output, labels) + self.lambda_ * (1 - similarity.mean())


class KgCoOp(CoOp):
    """Context vectors are trained, with a penalty on leaving the hand prompts."""

    title = "KgCoOp"
    citation = """@inproceedings{yao2023kgcoop,
  title = {Visual-Language Prompt Tuning with Knowledge-guided Context Optimization},
  author = {Hantao Yao and Rui Zhang and Changsheng Xu},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2023},
}"""
    recipe = CoOp.recipe.model_copy(update={"batch_size": 128, "length": 100})
    uses = "training labels, class prompts (of its own list)"

    tokens: int = Field(4, ge=1, le=64, description="context vectors M")
    lambda_: float = Field(8.0, ge=0, le=1000, description="weight of the penalty")

    def recipe_for(self, shots: int | None) -> Recipe:
        """Return the authors' recipe, the same for any number of shots."""
        return self.recipe

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Hook the context into the text tower; keep the hand prompts' embeddings."""
        return GuidedHead(model, classes, self)
