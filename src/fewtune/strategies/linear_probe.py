"""Linear probe: a linear layer on the frozen image embedding.

Radford et al., ICML 2021, section 3.2. There the layer is fitted by L-BFGS with a swept penalty on
the features before the projection; here it is trained by AdamW on the projected embedding, scaled
to unit root mean square, from zero weights, so that it shares recipe fields, caching and resuming
with every other strategy.
"""

from pydantic import Field

from fewtune.core.spec import InferenceType, Recipe
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.strategy import Strategy
from fewtune.strategies.zero_shot import ZeroShot


class LinearProbe(Strategy):
    """A trained linear classifier; the backbone and its text side are not touched."""

    title = "Linear probe"
    citation = ZeroShot.citation
    recipe = Recipe(batch_size=32, lr=1e-2, weight_decay=1e-2, length=50, views=8, crop_scale=0.5)
    uses = "training labels (published: few validation labels)"
    types = ("vision",)

    type: InferenceType = Field("vision", description="a linear head is the method itself")

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Add the linear layer."""
        return Head(model, classes, self.classifier)
