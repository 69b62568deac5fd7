"""Dataset files: a dataset is added by a file, and what is wrong with a file is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fewtune.core.errors import ConfigError, DataError
from fewtune.datasets import catalog
from fewtune.datasets.dataset_file import read_dataset
from fewtune.datasets.declaration import Dataset, Download, PromptSet
from fewtune.datasets.readers.coop_folders import ZhouSplit
from fewtune.testing import check_dataset

PAGE = Path(__file__).parents[3] / "docs" / "datasets.md"
(EXAMPLE,) = re.findall(r"```toml\n(summary = .*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
URL = "https://example.org/shapes.zip"


def read(folder: Path, old: str = "", new: str = "") -> Dataset:
    """Read the example of the docs with a change."""
    assert old in EXAMPLE
    file = folder / "shapes.toml"
    file.write_text(EXAMPLE.replace(old, new, 1))
    return read_dataset(file)


def test_the_example_of_the_docs(tmp_path: Path) -> None:
    dataset = read(tmp_path)
    check_dataset(dataset)
    assert dataset.classes == ("square", "round disc")
    assert dataset.readers == (ZhouSplit(("shapes",), "split_zhou_Shapes.json", "images"),)
    assert dataset.downloads == (Download(URL, "shapes/shapes.zip", unpack="shapes"),)
    clip = PromptSet(("a photo of a {}.", "a drawing of a {}."), {"round disc": "disc"})
    assert dataset.prompt_sets["clip"] == dataset.prompt_sets["clip-benchmark"] == clip
    assert dataset.prompt_sets["clipfit"] == PromptSet(("a photo of a {}, a kind of shape.",))


def test_names_as_a_list_and_facts_of_another_dataset(tmp_path: Path) -> None:
    named = read(tmp_path, '{"round disc" = "disc"}', '["box", "round disc"]')
    assert named.prompt_sets["clip"].names == {"square": "box"}
    alike = read(tmp_path, 'licence = "CC0"', 'like = "fewshot/dtd"')
    assert alike.licence == catalog.load("vtab/dtd").licence
    assert (alike.aliases, alike.classes) == ((), named.classes)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Shapes"', "", "title is missing"),
        ('title = "Shapes"', "title = Shapes", "shapes.toml: Invalid value"),
        ('"few-shot"', '"few"', "group: Input should be 'natural'.*found 'few'"),
        ("title =", 'colour = "red"\ntitle =', "colour: Unexpected keyword argument"),
        ("[[readers]]", '[[readers]]\ncolour = "red"', "colour: Unexpected keyword argument"),
        ('kind = "zhou"', 'kind = "zhu"', "no reader of kind 'zhu'. Did you mean 'zhou'"),
        ('{"round disc" = "disc"}', '["box"]', "prompts have 1 names for 2 classes"),
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
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, old, new)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('licence = "CC0"', 'like = "fewshot/dtt"', "Cannot read .*fewshot/dtt.toml"),
        ('["square", "round disc"]', '"shapes"', "Cannot read .*classes/shapes.txt"),
    ],
)
def test_other_files_are_there(old: str, new: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, old, new)
