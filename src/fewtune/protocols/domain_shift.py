"""Domain shift: trained on 16 images of each ImageNet class, tested on its four variants.

Zhou et al., "Learning to Prompt for Vision-Language Models", IJCV 2022, section 4.2: ImageNetV2,
-Sketch, -A and -R, test images only. In -A and -R the model chooses among their 200 classes. The
average is that of the four. Everything else as in `cross-dataset`.
"""

from pydantic import Field

from fewtune.protocols.cross_dataset import CrossDataset


class DomainShift(CrossDataset):
    """Accuracy on other pictures of ImageNet's classes."""

    title = "Domain generalisation"
    paper = "zhou2022coop"

    targets: tuple[str, ...] = Field(
        ("imagenet-v2", "imagenet-sketch", "imagenet-a", "imagenet-r"),
        min_length=1,
        description="datasets to test on, without training there",
    )
