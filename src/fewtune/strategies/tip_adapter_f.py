"""Tip-Adapter-F: the keys of Tip-Adapter's cache are trained.

Zhang et al., "Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification", ECCV 2022,
section 3.3: the keys start as those of `tip-adapter` and are trained with alpha and beta at their
starting values; both are searched on the validation split afterwards. Trained keys are not
normalised again.

Differs from the authors' code, apart from what `tip-adapter` names: the last epoch is taken, not
the best one on the test images; epochs go through the ten views of the cache instead of new ones;
EuroSAT gets 20 epochs too (theirs: 100, `--length 100`).
"""

from typing import Any

from torch import nn

from fewtune.core.spec import Recipe
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.strategies.tip_adapter import CacheHead, TipAdapter

EPS = 1e-4


class TrainedCacheHead(CacheHead):
    """A cache with the authors' epsilon in AdamW, which damps steps along small gradients."""

    def groups(self, parameters: dict[str, nn.Parameter]) -> list[dict[str, Any]]:
        """Return one group, with its epsilon."""
        return [{"params": list(parameters.values()), "eps": EPS}]


class TipAdapterF(TipAdapter):
    """Training features are kept, compared with, and moved by training."""

    title = "Tip-Adapter-F"
    recipe = Recipe(batch_size=256, lr=1e-3, weight_decay=1e-2, length=20, views=10, crop_scale=0.5)
    ours = ("views",)
    uses = (
        "training labels, drawn validation labels, class prompts (published: best epoch "
        "on test labels)"
    )

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Make room for the cache, which is trained."""
        return TrainedCacheHead(model, classes, self, trained=True)
