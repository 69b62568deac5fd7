"""A merged folder that plain transformers loads: CLIPModel, tokenizer, image processor, classes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel
from transformers.utils import logging

from fewtune.backbones.config_files import RESAMPLE, TOKENIZER_FILES
from fewtune.backbones.hub_snapshot import snapshot
from fewtune.backbones.model_names import ASSETS, resolve
from fewtune.backbones.tokenizer import has_tokenizer, quiet_transformers
from fewtune.core.errors import AdapterError
from fewtune.core.files import write_json
from fewtune.core.preprocess import Preprocess
from fewtune.exports.hub_card import write_card
from fewtune.exports.parity_probe import Probe, ensemble
from fewtune.model.head import Head
from fewtune.training import scoring
from fewtune.training.image_loader import chunks
from fewtune.training.load_run import Tuned
from fewtune.training.tensor_files import write_tensors

# torchvision and Pillow round differently; another crop or mean moves pixels by far more.
PIXEL_TOLERANCE = 0.02
PROMPT_CHUNK = 256
RULES = ("image", "text", "forward")

HEADER = """\
import json
from pathlib import Path
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor, CLIPModel
"""
CLASSIFY = """\
pixels = processor(Image.open("image.jpg").convert("RGB"), return_tensors="pt").pixel_values
z = model.visual_projection(model.vision_model(pixels).pooler_output)
w = load_file("classes.safetensors")["embeddings"]
shares = (model.logit_scale.exp() * z / z.norm(dim=-1, keepdim=True) @ w.T).softmax(-1)
print(dict(zip(json.loads(Path("classes.json").read_text())["names"], shares[0].tolist())))
"""
LOAD = """
model, processor = CLIPModel.from_pretrained("."), AutoImageProcessor.from_pretrained(".")
"""


def refuse(tuned: Tuned) -> None:
    """Refuse what a CLIPModel cannot express: anything but changed weights of the backbone.

    Raises:
        AdapterError: The head has tensors or a rule of its own, or hooks into a tower.
    """
    head, name = tuned.head, tuned.spec.strategy if tuned.spec else "This run"
    reason = ""
    if head.classifier == "linear":
        reason = "its linear layer on the image embedding"
    elif any(True for _ in (*head.parameters(), *head.buffers())):
        reason = "the tensors that it adds to the backbone"
    elif any(getattr(type(head), rule) is not getattr(Head, rule) for rule in RULES):
        reason = "its own way to compute class scores"
    elif any((*head.model.image.hooks.values(), *head.model.text.hooks.values())):
        reason = "what it inserts between the blocks of a tower"
    if reason:
        raise AdapterError(
            f"{name} cannot be exported: a CLIPModel has no place for {reason}.",
            hint="A strategy that only changes weights of the backbone can, such as clip-lora or "
            "clipfit with --type vision-language; this run serves through `fewtune predict` and "
            "fewtune.Classifier.load.",
        )


def write(tuned: Tuned, folder: Path) -> None:
    """Write the merged model and everything it needs; the model in memory is merged, too."""
    write_classes(tuned, folder)
    model = tuned.head.model
    model.merge()
    net: Any = model.net
    with quiet():
        net.save_pretrained(folder)
    _copy_tokenizer(model.name, folder)
    write_json(folder / "preprocessor_config.json", _processor_settings(model.preprocess))
    write_card(tuned, folder, "transformers", HEADER + LOAD + CLASSIFY)


def logits(tuned: Tuned, folder: Path, probe: Probe) -> list[Tensor]:
    """Return the probe's logits (N, C) by plain transformers: from texts, and the class file.

    Raises:
        AdapterError: The exported image processor makes other pixels.
    """
    with quiet():
        net = CLIPModel.from_pretrained(folder).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        processor = AutoImageProcessor.from_pretrained(folder)
    pictures = [example.source.read() for example in probe.examples]  # type: ignore[union-attr]
    pixels = processor(pictures, return_tensors="pt").pixel_values
    if pixels.shape != probe.pixels.shape or (pixels - probe.pixels).abs().mean() > PIXEL_TOLERANCE:
        raise AdapterError("The export was refused: its image processor makes other pixels.")
    prompts = tuned.head.prompts(tuned.classes)
    texts = []
    for part in chunks(len(prompts.texts), PROMPT_CHUNK):
        tokens = tokenizer([prompts.texts[i] for i in part], padding=True, return_tensors="pt")
        texts.append(encode_texts(net, tokens.input_ids, tokens.attention_mask))
    stored = load_file(folder / "classes.safetensors")["embeddings"]
    classes = (ensemble(torch.cat(texts), prompts), stored)
    return [plain_logits(net, probe.pixels, w) for w in classes]


@torch.inference_mode()
def encode_texts(net: Any, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return text embeddings (P, D) by the forward pass of transformers."""
    embeddings: Tensor = net.text_projection(net.text_model(ids, mask).pooler_output)
    return embeddings


@torch.inference_mode()
def plain_logits(net: Any, pixels: Tensor, classes: Tensor) -> Tensor:
    """Return logits (N, C) by the forward pass of transformers and normalised classes (C, D)."""
    images = net.visual_projection(net.vision_model(pixels).pooler_output)
    scores: Tensor = net.logit_scale.exp() * F.normalize(images, dim=-1) @ classes.T
    return scores


def write_classes(tuned: Tuned, folder: Path) -> None:
    """Write class names and prompts, and the normalised class embeddings (C, D)."""
    prompts = tuned.head.prompts(tuned.classes)
    texts: dict[str, list[str]] = {name: [] for name in prompts.classes}
    for text, label in zip(prompts.texts, prompts.owner, strict=True):
        texts[prompts.classes[label]].append(text)
    templates = tuned.classes.templates
    names = tuned.classes.names
    write_json(folder / "classes.json", {"names": names, "templates": templates, "prompts": texts})
    classes = scoring.encode_classes(tuned.head, tuned.classes, "fp32")
    assert classes is not None
    with torch.inference_mode():
        embeddings = F.normalize(tuned.head.text(classes.embeddings()), dim=-1)
    write_tensors(folder / "classes.safetensors", {"embeddings": embeddings}, {})


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the progress bars and remarks of transformers off the terminal."""
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with quiet_transformers():
            yield
    finally:
        if bars:
            logging.enable_progress_bar()


def _copy_tokenizer(backbone: str, folder: Path) -> None:
    """Copy the backbone's tokenizer files, or CLIP's own where it came without any."""
    source = resolve(backbone)
    origin = snapshot(source) if source.kind == "hub" else source.path
    if not has_tokenizer(origin):
        origin = ASSETS / "clip_bpe"
    for name in TOKENIZER_FILES:
        if (origin / name).is_file():
            shutil.copyfile(origin / name, folder / name)


def _processor_settings(preprocess: Preprocess) -> dict[str, Any]:
    square = {"height": preprocess.size_px, "width": preprocess.size_px}
    crops = preprocess.policy == "crop"
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": preprocess.size_px} if crops else square,
        "resample": {name: number for number, name in RESAMPLE.items()}[preprocess.interpolation],
        "do_center_crop": crops,
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": preprocess.mean,
        "image_std": preprocess.std,
    }
