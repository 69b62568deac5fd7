"""A merged folder that plain transformers loads: CLIPModel, tokenizer, image processor, classes.

A backbone with a convolutional stem is written in the same files, but only FewTune loads them:
transformers has no such model, and says that the shape of the patch embedding is wrong.
"""

import inspect
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

from fewtune.backbones import clip
from fewtune.backbones.config_files import TOKENIZER_FILES, processor_settings
from fewtune.backbones.hub_snapshot import snapshot
from fewtune.backbones.model_names import ASSETS, resolve
from fewtune.backbones.tokenizer import has_tokenizer, quiet_transformers
from fewtune.core.errors import AdapterError
from fewtune.core.files import write_json
from fewtune.data.decode import open_image
from fewtune.exports import pixels
from fewtune.exports.hub_card import write_card
from fewtune.exports.parity_probe import Probe, ensemble
from fewtune.model.head import Head
from fewtune.training import scoring
from fewtune.training.image_loader import chunks
from fewtune.training.load_run import Tuned
from fewtune.training.tensor_files import write_tensors

PIXEL_TOLERANCE = 1e-5
RESIZE_TOLERANCE = 0.02  # of transformers' own resizing, where it cuts as the run does
PROMPT_CHUNK = 256
CLASSES = "classes.safetensors"

HEADER = """\
import json
from pathlib import Path
from safetensors.torch import load_file
from transformers import AutoImageProcessor, CLIPModel
from pixels import pixels
"""
LOAD = """
model = CLIPModel.from_pretrained(".", dtype="float32")
"""
# Only scales and normalises here: its own centre crop is not that of the run.
CLASSIFY = """\
processor = AutoImageProcessor.from_pretrained(".", do_resize=False, do_center_crop=False)
image = pixels("image.jpg", json.loads(Path("preprocessor_config.json").read_text()))
inputs = processor(image, return_tensors="pt").pixel_values
z = model.visual_projection(model.vision_model(inputs).pooler_output)
z, head = z / z.norm(dim=-1, keepdim=True), load_file("classes.safetensors")
"""
SCORE = {
    "text": 'scores = model.logit_scale.exp() * z @ head["embeddings"].T\n',
    "linear": 'scores = z @ head["weight"].T + head["bias"]\n',
}
PRINT = """\
names, shares = json.loads(Path("classes.json").read_text())["names"], scores.softmax(-1)
print(dict(zip(names, shares[0].tolist())))
"""
LOAD_STEM = """
from fewtune.backbones import clip
model = clip.load("./").net
"""


def refuse(tuned: Tuned) -> None:
    """Refuse what a CLIPModel and a matrix of classes cannot express: most of the image side.

    Raises:
        AdapterError: The head has a rule of its own for images, or hooks into their tower.
    """
    head, name = tuned.head, tuned.spec.strategy if tuned.spec else "This run"
    reason = ""
    if type(head).forward is not Head.forward:
        reason = "its own way to compute class scores"
    elif type(head).image is not Head.image:
        reason = "what it adds behind the image tower"
    elif any(head.model.image.hooks.values()):
        reason = "what it inserts between the blocks of the image tower"
    if reason:
        raise AdapterError(
            f"{name} cannot be exported in this format: a CLIPModel has no place for {reason}.",
            hint="Use --to onnx, which takes every strategy.",
        )


def write(tuned: Tuned, folder: Path, probe: Probe) -> None:
    """Write the merged model and everything it needs; the model in memory is merged, too."""
    write_classes(tuned, folder)
    model = tuned.head.model
    model.merge()
    save_model(model.net, folder)
    _copy_tokenizer(model.name, folder)
    facts = {"`AutoImageProcessor` alone": processor_note(model.net, folder, probe)}
    stem = has_stem(model.net)
    lines = usage(tuned, LOAD_STEM if stem else LOAD)
    write_card(tuned, folder, "fewtune" if stem else "transformers", lines, facts)


def has_stem(net: Any) -> bool:
    """Return whether plain transformers cannot load the model."""
    return getattr(net.config.vision_config, "stem", None) is not None


def processor_note(net: Any, folder: Path, probe: Probe) -> str:
    """Return what changes where transformers' image processor resizes and cuts, as pipelines do.

    Raises:
        AdapterError: It does so in another way than the run.
    """
    with quiet():
        processor = AutoImageProcessor.from_pretrained(folder)
    pictures = [open_image(example.source) for example in probe.examples]
    seen = processor(pictures, return_tensors="pt").pixel_values
    same_shape = seen.shape == probe.pixels.shape
    if not same_shape or (seen - probe.pixels).abs().mean((1, 2, 3)).median() > RESIZE_TOLERANCE:
        raise AdapterError("The export was refused: its image processor makes other pixels.")
    head = load_file(folder / CLASSES)
    theirs, ours = (plain_logits(net, x, head).softmax(-1) for x in (seen, probe.pixels))
    changed = int((theirs.argmax(-1) != ours.argmax(-1)).sum())
    return (
        f"cuts a quarter of all sizes one pixel off; of {len(ours)} probe images it changes "
        f"{changed} labels, and a probability by up to {float((theirs - ours).abs().max()):.2g}"
    )


def usage(tuned: Tuned, load: str) -> str:
    """Return Python that classifies "image.jpg", given the lines that load `model`."""
    return HEADER + load + CLASSIFY + SCORE[tuned.head.classifier] + PRINT


def save_model(net: Any, folder: Path) -> None:
    """Write a model in transformers' layout."""
    with quiet():
        net.save_pretrained(folder)


def logits(tuned: Tuned, folder: Path, probe: Probe) -> list[Tensor]:
    """Return the probe's logits (N, C) by plain transformers: from the class file, and from texts.

    Raises:
        AdapterError: The exported files make other pixels.
    """
    with quiet():
        stem = has_stem(tuned.head.model.net)
        net: Any = (
            clip.load(str(folder)).net
            if stem
            else CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
        )
    found = [from_class_file(net, folder, probe)]
    if not tells_classes_by_text(tuned.head):
        return found
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder)
    prompts = tuned.head.prompts(tuned.classes)
    texts = []
    for part in chunks(len(prompts.texts), PROMPT_CHUNK):
        tokens = tokenizer([prompts.texts[i] for i in part], padding=True, return_tensors="pt")
        texts.append(encode_texts(net, tokens.input_ids, tokens.attention_mask))
    embeddings = {"embeddings": ensemble(torch.cat(texts), prompts)}
    return [*found, plain_logits(net, probe.pixels, embeddings)]


@torch.inference_mode()
def from_class_file(net: Any, folder: Path, probe: Probe) -> Tensor:
    """Return logits (N, C) as the lines of the card compute them.

    Raises:
        AdapterError: The exported files make other pixels.
    """
    with quiet():
        processor = AutoImageProcessor.from_pretrained(
            folder, do_resize=False, do_center_crop=False
        )
    seen = processor(list(probe.exported), return_tensors="pt").pixel_values
    if not torch.allclose(seen, probe.pixels, rtol=0, atol=PIXEL_TOLERANCE):
        raise AdapterError("The export was refused: its image processor makes other pixels.")
    return plain_logits(net, seen, load_file(folder / CLASSES))


@torch.inference_mode()
def encode_texts(net: Any, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return text embeddings (P, D) by the forward pass of transformers."""
    embeddings: Tensor = net.text_projection(net.text_model(ids, mask).pooler_output)
    return embeddings


@torch.inference_mode()
def plain_logits(net: Any, x: Tensor, head: dict[str, Tensor]) -> Tensor:
    """Return logits (N, C) of pixels by transformers and the tensors of a class file."""
    z = F.normalize(net.visual_projection(net.vision_model(x).pooler_output), dim=-1)
    if "weight" in head:
        return F.linear(z, head["weight"], head["bias"])
    scores: Tensor = net.logit_scale.exp() * z @ head["embeddings"].T
    return scores


def tells_classes_by_text(head: Head) -> bool:
    """Whether the text tower alone gives the classes: nothing is inserted, added or replaced."""
    rules = ("prompts", "text")
    plain = all(getattr(type(head), rule) is getattr(Head, rule) for rule in rules)
    return head.classifier == "text" and plain and not any(head.model.text.hooks.values())


def write_classes(tuned: Tuned, folder: Path) -> None:
    """Write how images and classes are read, and what embeddings are compared with.

    That is the normalised class embeddings (C, D), or the weight (C, D) and the bias (C,) of a
    linear layer on normalised image embeddings. Prompts are named where they make the embeddings.
    """
    head, classes = tuned.head, tuned.classes
    names: dict[str, Any] = {"names": classes.names}
    if tells_classes_by_text(head):
        prompts = head.prompts(classes)
        texts: dict[str, list[str]] = {name: [] for name in prompts.classes}
        for text, label in zip(prompts.texts, prompts.owner, strict=True):
            texts[prompts.classes[label]].append(text)
        names |= {"templates": classes.templates, "prompts": texts}
    write_json(folder / "classes.json", names)
    encoded = scoring.encode_classes(head, classes, "fp32")
    with torch.inference_mode():
        if encoded is None:
            weight, bias = head.linear.weight * head.model.dim**0.5, head.linear.bias
            tensors = {"weight": weight, "bias": bias}
        else:
            w = head.text(encoded.embeddings(), classes.names)
            tensors = {"embeddings": F.normalize(w, dim=-1)}
    write_tensors(folder / CLASSES, tensors, {})
    write_json(folder / "preprocessor_config.json", processor_settings(head.model.preprocess))
    shutil.copyfile(inspect.getfile(pixels), folder / "pixels.py")


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
