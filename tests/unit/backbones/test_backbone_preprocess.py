"""Every form in which checkpoints write down how they want their pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fewtune.backbones.config_files import CLIP_MEAN, CLIP_STD, read_preprocess
from fewtune.core.errors import AdapterError
from fewtune.core.preprocess import Preprocess

PLAIN = Preprocess(224, CLIP_MEAN, CLIP_STD)
SQUARE = {"height": 224, "width": 224}


def read(folder: Path, settings: Any, name: str = "preprocessor_config.json") -> Preprocess:
    (folder / name).write_text(json.dumps(settings))
    return read_preprocess(folder, 224)


def test_no_file_means_clips_own(tmp_path: Path) -> None:
    assert read_preprocess(tmp_path, 336) == Preprocess(336, CLIP_MEAN, CLIP_STD)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"size": 224, "crop_size": 224, "resample": 3, "do_center_crop": True},
        {
            "size": {"shortest_edge": 224},
            "crop_size": SQUARE,
            "rescale_factor": 0.00392156862745098,
        },
        {"image_mean": list(CLIP_MEAN), "image_std": list(CLIP_STD), "do_normalize": True},
    ],
)
def test_forms_of_the_standard(tmp_path: Path, settings: dict[str, Any]) -> None:
    assert read(tmp_path, settings) == PLAIN


@pytest.mark.parametrize("settings", [{"size": SQUARE}, {"size": 224, "do_center_crop": False}])
def test_squash(tmp_path: Path, settings: dict[str, Any]) -> None:
    assert read(tmp_path, settings).policy == "squash"


def test_filter_and_normalisation(tmp_path: Path) -> None:
    found = read(tmp_path, {"resample": 2, "image_mean": [0.5] * 3, "image_std": [0.25, 0.5, 1]})
    assert found == Preprocess(224, (0.5, 0.5, 0.5), (0.25, 0.5, 1.0), "bilinear", "crop")
    plain = read(tmp_path, {"do_normalize": False, "image_mean": [0.5] * 3})
    assert (plain.mean, plain.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_newer_file_with_a_nested_image_processor(tmp_path: Path) -> None:
    settings = {"image_processor": {"resample": 1, "size": 224}, "processor_class": "CLIPProcessor"}
    assert read(tmp_path, settings, "processor_config.json").interpolation == "lanczos"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 336, "crop_size": 336}, "makes images of 336 px, but the image tower takes 224"),
        ({"size": 256, "crop_size": 224}, "resizes to 256 and then cuts out 224"),
        ({"size": {"height": 224, "width": 192}}, "takes 224 px"),
        ({"size": {"longest_edge": 224}}, "takes 224 px|cuts out"),
        ({"resample": 5}, "filter 5 is not supported"),
        ({"resample": []}, r"filter \[\] is not supported"),
        ({"rescale_factor": 1}, "scaled by 1/255"),
        ({"do_rescale": False}, "scaled by 1/255"),
        ({"image_mean": [0.5]}, "three numbers"),
        ({"image_std": "abc"}, "three numbers"),
        ([], "not an object"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path: Path, settings: Any, message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        read(tmp_path, settings)
