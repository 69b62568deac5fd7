"""Features of three drawn images and five texts, so that a test notices when loading changes."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

from fewtune.backbones import clip
from fewtune.core.task import Example
from fewtune.data.decode import InMemory
from fewtune.model.towers import Prompts
from fewtune.training.image_loader import ImageLoader
from pretraining.picto.pins import PINNED, TEXTS, drawn_images


@torch.no_grad()
def pinned_features(folder: Path) -> dict[str, list[list[float]]]:
    """Return leading entries of the unit features that FewTune gives."""
    model = clip.load(str(folder))
    pictures = [image.permute(1, 2, 0).numpy() for image in drawn_images()]
    examples = [Example(str(i), 0, InMemory(p)) for i, p in enumerate(pictures)]
    pixels = ImageLoader(examples, model.preprocess).batch(range(len(examples)), None)
    prompts = Prompts(TEXTS, tuple(range(len(TEXTS))), TEXTS)
    found = {
        "images": model.image.run(pixels, None),
        "texts": model.encode(prompts).embeddings(),
    }
    return {
        kind: [
            [round(value, 5) for value in row[:PINNED].tolist()] for row in F.normalize(x, dim=1)
        ]
        for kind, x in found.items()
    }


def write_pins(folder: Path, target: Path) -> None:
    """Write the features of a model folder; done when the weights are replaced."""
    target.write_text(json.dumps(pinned_features(folder), indent=1) + "\n", encoding="utf-8")
