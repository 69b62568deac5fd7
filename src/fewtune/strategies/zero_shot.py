"""Zero-shot CLIP: similarity to class prompts, nothing is trained.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021,
section 3.1. Several prompts of a class are averaged as normalised embeddings.
"""

from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.model.strategy import Strategy


class ZeroShot(Strategy):
    """The untouched backbone: the first row of every table."""

    title = "Zero-shot CLIP"
    citation = """@inproceedings{radford2021clip,
  title = {Learning Transferable Visual Models From Natural Language Supervision},
  author = {Alec Radford and Jong Wook Kim and Chris Hallacy and Aditya Ramesh and Gabriel Goh and
    Sandhini Agarwal and Girish Sastry and Amanda Askell and Pamela Mishkin and Jack Clark and
    Gretchen Krueger and Ilya Sutskever},
  booktitle = {International Conference on Machine Learning},
  year = {2021},
}"""
    source = "paper"
    uses = "class prompts"
    types = ("vision-language",)

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        """Add nothing."""
        return Head(model, classes, self.classifier)
