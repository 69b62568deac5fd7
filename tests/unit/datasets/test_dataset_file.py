"""Dataset files: a dataset is added by a file, and what is wrong with a file is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewtune.core.errors import ConfigError, DataError
from fewtune.datasets import catalog
from fewtune.datasets.dataset_file import read_dataset
from fewtune.datasets.declaration import Download, PromptSet
from fewtune.datasets.readers.zhou import ZhouSplit
from fewtune.testing import check_dataset

TEXT = """\
summary = "Shapes: squares and discs."
title = "Shapes"
group = "few-shot"
like = "fewshot/dtd"
classes = ["square", "round_disc"]
sizes = {train = 4, val = 2, test = 2}
downloads = [{url = "https://example.org/shapes.zip", path = "shapes/shapes.zip"}]
default_prompts = "clip"

[[prompts]]
sources = ["clip", "clip-benchmark"]
templates = ["a photo of a {}."]
names = ["box", "round disc"]

[[readers]]
kind = "zhou"
folders = ["shapes"]
split_file = "split_zhou_Shapes.json"
images = "images"
"""


def test_a_dataset_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "shapes.toml"
    file.write_text(TEXT)
    dataset = read_dataset(file)
    assert dataset.readers == (ZhouSplit(("shapes",), "split_zhou_Shapes.json", "images"),)
    assert dataset.downloads == (Download("https://example.org/shapes.zip", "shapes/shapes.zip"),)
    assert dataset.prompt_sets["clip"] == PromptSet(("a photo of a {}.",), {"square": "box"})
    assert dataset.citation == catalog.load("vtab/dtd").citation
    assert dataset.aliases == ()
    check_dataset(dataset)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Shapes"', "", "title is missing"),
        ('title = "Shapes"', "title = Shapes", "shapes.toml: Invalid value"),
        ('"few-shot"', '"few"', "group: Input should be 'natural'.*found 'few'"),
        ("sizes =", "colours =", "colours: Unexpected keyword argument"),
        ("[[readers]]", '[[readers]]\ncolour = "red"', "colour: Unexpected keyword argument"),
        ('kind = "zhou"', 'kind = "zhu"', "no reader of kind 'zhu'. Did you mean 'zhou'"),
        ('["box", "round disc"]', '["box"]', "prompts have 1 names for 2 classes"),
        ('["clip", "clip-b', '["clap", "clip-b', "sources.0: .*found 'clap'"),
        ("[{url", '["dtd/dtd-r1.tar.gz", {url', "Did you mean 'dtd/dtd-r1.0.1.tar.gz'"),
        (
            "[[readers]]",
            '[[readers]]\nkind = "webdataset"\nrepo = "x"\nlabel = "dsprite-location"\n[[readers]]',
            "label: there is no 'dsprite-location'. Did you mean 'dsprites-location'",
        ),
    ],
)
def test_what_is_wrong_is_said(old: str, new: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "shapes.toml"
    file.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        read_dataset(file)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"fewshot/dtd"', '"fewshot/dtt"', "Cannot read .*fewshot/dtt.toml"),
        ('["square", "round_disc"]', '"shapes"', "Cannot read .*classes/shapes.txt"),
    ],
)
def test_names_of_lists_and_datasets_exist(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "shapes.toml"
    file.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        read_dataset(file)
