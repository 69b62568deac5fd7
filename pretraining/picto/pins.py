"""Features of three drawn images and five texts, so that a test notices when loading changes."""

import json
from pathlib import Path

import torch
from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

TEXTS = (
    "a photo of a cat.",
    "an icon of a house",
    "sneaker",
    "two red circles",
    "a photo of a pullover, a type of sweater.",
)
PINNED = 8  # leading entries of each unit feature


def drawn_images() -> torch.Tensor:
    """A bar, a disc and a ramp of colours: (3, 3, 60, 48), 0 to 255."""
    rows, columns = torch.meshgrid(torch.arange(60), torch.arange(48), indexing="ij")
    bar = 255 * ((rows - 30).abs() > 6).float()
    disc = 255 * ((rows - 30) ** 2 + (columns - 24) ** 2 > 300).float()
    ramp = torch.stack([rows * 4.0, columns * 5.0, 255.0 - rows * 2.0])
    return torch.stack([bar.expand(3, -1, -1), disc.expand(3, -1, -1), ramp]).byte()


@torch.no_grad()
def pinned_features(folder: Path) -> dict[str, list[list[float]]]:
    """Leading entries of the unit features that plain `transformers` gives."""
    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    pixels = CLIPImageProcessor.from_pretrained(folder)(list(drawn_images()), return_tensors="pt")
    rows = AutoTokenizer.from_pretrained(folder)(list(TEXTS), padding=True, return_tensors="pt")
    output = model(**rows, pixel_values=pixels["pixel_values"])
    found = {"images": output.image_embeds, "texts": output.text_embeds}
    return {
        kind: [[round(value, 5) for value in row[:PINNED].tolist()] for row in features]
        for kind, features in found.items()
    }


def write_pins(folder: Path, target: Path) -> None:
    """Writes the features of a model folder; done when the weights are replaced."""
    target.write_text(json.dumps(pinned_features(folder), indent=1) + "\n", encoding="utf-8")
