"""Zero-shot CLIP: similarity to class prompts, nothing is trained.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021,
section 3.1. Several prompts of a class are averaged as normalised embeddings.
"""

from __future__ import annotations

from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.strategy import Strategy


class ZeroShot(Strategy):
    """The untouched backbone: the first row of every table."""

    title = "Zero-shot CLIP"
    paper = "radford2021clip"
    source = "paper"
    types = ("vision-language",)

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Add nothing."""
        return Head(model, classes, self.classifier)
