"""CoOp: learned vectors in the place of the words around the class name.

Zhou et al., "Learning to Prompt for Vision-Language Models", IJCV 2022, section 3.2: the prompt of
a class is [V]_1 ... [V]_M [CLASS] and a full stop, with the class at the end, in the middle or at
the front; the vectors are shared by all classes (unified context), or each class has its own
(class-specific context). Templates and descriptions of a task are not used, so CoOp does not start
as zero-shot CLIP.

As in the authors' code, up to four shared vectors start as the embeddings of "a photo of a", others
as N(0, 0.02^2), and the epochs are 50 for 1 shot, 100 for 2 to 4, 200 for more. Differs from it:
ImageNet gets these epochs too (theirs: always 50, `--length 50`); similarity and loss are computed
in fp32 instead of fp16; a tokenizer that makes more or fewer tokens of "a photo of a" than CLIP's
gives its first ones, and vectors that it leaves over are random.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fewtune.core.errors import ConfigError
from fewtune.core.spec import Recipe
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.strategy import Strategy
from fewtune.model.towers import Prompts, TokenBatch

WORDS = "a photo of a"


class ContextHead(Head):
    """Holds the context, (M, W) or (C, M, W), and puts it into the embedded prompts."""

    def __init__(self, model: DualEncoder, classes: ClassSet, strategy: CoOp) -> None:
        super().__init__(model, classes, strategy.classifier)
        self.count = strategy.tokens
        self.leading = {"end": self.count, "middle": self.count // 2, "front": 0}[strategy.position]
        self.class_bound = strategy.per_class
        self.glue = placeholder_glue(model, self.count)
        shape = (len(classes), self.count) if strategy.per_class else (self.count,)
        context = torch.empty(*shape, model.text.width, device=model.device)
        nn.init.normal_(context, std=0.02)
        if strategy.starts_with_words:
            ids = model.tokenize([WORDS])[0][0, 1:-1][: self.count]
            context[..., : len(ids), :] = self._embedding(model.text.tokens)[ids]
        self.context = nn.Parameter(context)
        model.add_hook(model.text, "block.0", self._insert)

    def prompts(self, classes: ClassSet) -> Prompts:
        """Return one text per class, with placeholders where the context goes."""
        first, second = (
            self.glue.join("x" * count) for count in (self.leading, self.count - self.leading)
        )
        texts = (
            " ".join(filter(None, (first, classes.word(label), second))) + "."
            for label in range(len(classes))
        )
        return Prompts(tuple(texts), tuple(range(len(classes))), classes.names)

    def positions(self, end: Tensor) -> Tensor:
        """Return where the context goes: after the start, and before the full stop.

        Args:
            end: (P,) positions of the end of text; the result is (P, M).
        """
        index = torch.arange(self.count, device=end.device)
        return torch.where(index < self.leading, index + 1, end[:, None] - 1 - self.count + index)

    def vectors(self, rows: TokenBatch) -> Tensor:
        """Return the context of each prompt: (M, W), or (P, M, W)."""
        return self.context[rows.owner] if self.class_bound else self.context

    def _insert(self, x: Tensor, rows: TokenBatch | None) -> Tensor:
        assert rows is not None
        positions = self.positions(rows.end)  # of [V]_1 ... [V]_M in each prompt
        embedded = self._embedding(self.model.text.positions)[positions]
        vectors = (self.vectors(rows) + embedded).to(x.dtype)
        return x.scatter(1, positions[..., None].expand_as(vectors), vectors)

    def _embedding(self, name: str) -> Tensor:
        return self.model.net.get_parameter(f"{name}.weight")


def placeholder_glue(model: DualEncoder, count: int) -> str:
    """Return what to put between `count` letters so that each of them is one token.

    Raises:
        ConfigError: The tokenizer joins letters, or the last one with a full stop.
    """
    for glue in (" ", ""):
        ids, _ = model.tokenize([glue.join("x" * count) + "."])
        if ids.shape[1] == count + 3:  # start, full stop, end of text
            return glue
    raise ConfigError(
        f"The tokenizer of {model.name} leaves no place for learned vectors.",
        hint="Use another strategy: `fewtune list strategies`.",
    )


class CoOp(Strategy):
    """Context vectors are trained at the input of the text encoder."""

    title = "CoOp"
    citation = """@article{zhou2022coop,
  title = {Learning to Prompt for Vision-Language Models},
  author = {Kaiyang Zhou and Jingkang Yang and Chen Change Loy and Ziwei Liu},
  journal = {International Journal of Computer Vision},
  volume = {130},
  year = {2022},
}"""
    recipe = Recipe(
        batch_size=32,
        drop_last=True,
        optimizer="sgd",
        lr=2e-3,
        weight_decay=5e-4,
        momentum=0.9,
        schedule_unit="epoch",
        warmup=1,
        warmup_lr=1e-5,
        length=200,
    )
    source = "authors' code"
    uses = "training labels, class names"
    types = ("vision-language",)
    starts_as_zero_shot = False

    tokens: int = Field(16, ge=1, le=64, description="context vectors M (paper: 4 or 16)")
    per_class: bool = Field(False, description="a context for each class (class-specific context)")
    position: Literal["end", "middle", "front"] = Field(
        "end", description="place of the class name among the context"
    )
    initialisation: Literal["auto", "words", "normal"] = Field(
        "auto",
        description='start as "a photo of a" or as noise; auto: words for up to 4 shared vectors',
    )

    @property
    def starts_with_words(self) -> bool:
        """Whether the context starts as the embeddings of words."""
        few = self.tokens <= 4 and not self.per_class
        return self.initialisation == "words" or (self.initialisation == "auto" and few)

    def recipe_for(self, shots: int | None) -> Recipe:
        """Return the authors' recipe, whose length depends on the shots."""
        length = 50 if shots == 1 else 100 if shots and shots <= 4 else 200
        return self.recipe.model_copy(update={"length": length})

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Hook the context into the text tower."""
        return ContextHead(model, classes, self)
