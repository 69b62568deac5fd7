"""Own images: few-shot on any folders, with every strategy."""

from pydantic import Field

from fewtune.protocols.few_shot import FewShot


class Own(FewShot):
    """Accuracy on one's own images against the number of training images per class."""

    title = "Own images"
    paper = ""

    data: tuple[str, ...] = Field(
        min_length=1, description="folders of images, or datasets by name"
    )
