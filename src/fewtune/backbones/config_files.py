"""JSON files of a checkpoint: which model it is, and how it wants its pixels."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewtune.core.errors import AdapterError
from fewtune.core.files import load_json
from fewtune.core.preprocess import POLICIES, Channels, Interpolation, Preprocess, ResizePolicy

OPEN_CLIP_CONFIG = "open_clip_config.json"
PREPROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)
# Files next to the weights; they are fetched first.
SMALL_FILES = ("config.json", OPEN_CLIP_CONFIG, *PREPROCESSOR_FILES, *TOKENIZER_FILES)

CLIP_MEAN: Channels = POLICIES["clip"]["mean"]
CLIP_STD: Channels = POLICIES["clip"]["std"]
# The numbers are those of PIL.Image.Resampling, which preprocessor files store.
RESAMPLE: dict[int, Interpolation] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`.

    Raises:
        AdapterError: The file is missing, damaged, or holds something else.
    """
    try:
        value = load_json(path)
    except (OSError, ValueError) as error:
        raise AdapterError(
            f"{path} is not a readable JSON file: {error}.", hint="Download the checkpoint again."
        ) from error
    if not isinstance(value, dict):
        raise AdapterError(f"{path} holds a JSON {type(value).__name__}, not an object.")
    return value


def digest_small_files(checkpoint: Path) -> dict[str, str]:
    """Return the SHA-256 of the files next to the weights, by name: they decide predictions, too.

    Args:
        checkpoint: A folder, or the file of the weights.
    """
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    names = [*SMALL_FILES, f"{checkpoint.name}.json"]
    found = {name: folder / name for name in names if (folder / name).is_file()}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}


def holds_clip_config(folder: Path) -> bool:
    """Return whether `folder/config.json` describes a transformers CLIPModel.

    Raises:
        AdapterError: It describes another kind of model, and no open_clip model lies next to it.
    """
    path = folder / "config.json"
    if not path.is_file():
        return False
    config = read_object(path)
    kind = config.get("model_type", "clip" if "text_config" in config else None)
    if kind not in (None, "clip") and not (folder / OPEN_CLIP_CONFIG).is_file():
        raise AdapterError(
            f"{path} describes a model of type '{kind}'; only CLIP models (type 'clip') are "
            "supported.",
            hint="`fewtune list backbones` names some that work.",
        )
    return kind == "clip"


def read_preprocess(folder: Path, image_size: int) -> Preprocess:
    """Return how a transformers checkpoint wants its pixels; CLIP's own way if no file says.

    Raises:
        AdapterError: The file asks for something else than one resize to `image_size` (the side
            that the image tower takes, in pixels) and one normalisation.
    """
    for name in PREPROCESSOR_FILES:
        path = folder / name
        if path.is_file():
            settings = read_object(path)
            if name == "processor_config.json":
                nested = settings.get("image_processor")
                settings = nested if isinstance(nested, dict) else settings
            return _from_settings(settings, path, image_size)
    return Preprocess(image_size, CLIP_MEAN, CLIP_STD)


def processor_settings(preprocess: Preprocess) -> dict[str, Any]:
    """Return what a preprocessor_config.json says of it: what `read_preprocess` reads back."""
    crops = preprocess.policy == "crop"
    square = {"height": preprocess.size_px, "width": preprocess.size_px}
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


def channel_values(values: object, default: Channels, path: Path) -> Channels:
    """Return three numbers, `default` for None."""
    match values:
        case None:
            return default
        case [int() | float() as red, int() | float() as green, int() | float() as blue]:
            return float(red), float(green), float(blue)
    raise AdapterError(f"{path}: a mean and a deviation are three numbers, found {values!r}.")


def _from_settings(settings: Mapping[str, Any], path: Path, image_size: int) -> Preprocess:
    resample = settings.get("resample", 3)
    if not isinstance(resample, int) or resample not in RESAMPLE:
        raise AdapterError(f"{path}: resampling filter {resample!r} is not supported.")
    factor = settings.get("rescale_factor", 1 / 255)
    scaled = isinstance(factor, int | float) and math.isclose(factor, 1 / 255, rel_tol=1e-3)
    if not settings.get("do_rescale", True) or not scaled:
        raise AdapterError(
            f"{path}: pixels are expected to be scaled by 1/255, found rescale_factor {factor} "
            f"and do_rescale {settings.get('do_rescale', True)}."
        )
    policy, side = _resize(settings, path, image_size)
    if side != image_size:
        raise AdapterError(
            f"{path} makes images of {side} px, but the image tower takes {image_size} px.",
            hint=f"Set size and crop_size in that file to {image_size}.",
        )
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if settings.get("do_normalize", True):
        mean = channel_values(settings.get("image_mean"), CLIP_MEAN, path)
        std = channel_values(settings.get("image_std"), CLIP_STD, path)
    return Preprocess(image_size, mean, std, RESAMPLE[resample], policy)


def _resize(
    settings: Mapping[str, Any], path: Path, image_size: int
) -> tuple[ResizePolicy, int | None]:
    """Return the policy and the side of the square that comes out, in pixels."""
    size = settings.get("size", image_size)
    crop = settings.get("crop_size", size)
    cuts = settings.get("do_center_crop", True)
    squash = not cuts or (isinstance(size, Mapping) and "height" in size)
    side = _side(size)
    if cuts and _side(crop) != side:
        raise AdapterError(
            f"{path} resizes to {size} and then cuts out {crop}; only a cut of the same size is "
            "supported.",
            hint="Set size and crop_size to the same number.",
        )
    return ("squash" if squash else "crop"), side


def _side(size: object) -> int | None:
    """Return the side in pixels of any form of size, None where it is not one number."""
    if isinstance(size, Mapping):
        sides = {size[key] for key in ("shortest_edge", "height", "width") if key in size}
        size = sides.pop() if len(sides) == 1 else None
    return size if isinstance(size, int) else None
