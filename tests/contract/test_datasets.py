"""Every declared dataset: its contract, its names, and its prompts as pinned in datasets.toml."""

from __future__ import annotations

import tomllib
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

import pin
from fewtune.core.errors import ConfigError, DataError
from fewtune.core.task import PromptSource
from fewtune.datasets import catalog
from fewtune.datasets.declaration import PromptSet
from fewtune.testing import check_dataset
from fewtune.testing.dataset_contract import bibtex

SIX = {"caltech101", "dtd", "eurosat", "flowers102", "pets", "sun397"}
ALL = {name: catalog.load(name) for name in catalog.declared()}


def test_the_benchmarks_are_all_there() -> None:
    groups = Counter(catalog.groups().values())
    assert groups == {
        "natural": 7, "specialised": 4, "structured": 8, "few-shot": 11, "domain-shift": 4,
    }  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_contract(name: str) -> None:
    check_dataset(ALL[name])


def test_names_and_prompts_are_pinned() -> None:
    found = {name: pin.values_of_dataset(dataset) for name, dataset in ALL.items()}
    stored = tomllib.loads(pin.DATASETS.read_text(encoding="utf-8"))
    moved = [name for name in found if found[name] != stored.get(name)]
    assert found == stored, f"new, or changed: {moved}. If this is meant, run `{pin.COMMAND}`"


def test_only_six_names_are_those_of_two_datasets() -> None:
    leads = defaultdict(set)
    for name, dataset in ALL.items():
        for alias in (name, catalog.task_name(name), name.rpartition("/")[2], *dataset.aliases):
            leads[catalog.fold(alias)].add(name)
    assert {alias for alias, names in leads.items() if len(names) > 1} == SIX
    keys = Counter(bibtex(dataset.citation)["key"] for dataset in ALL.values())
    assert max(keys.values()) <= 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ("a", "a")}, "two classes have one name"),
        ({"classes": ("a", " b")}, "loose spaces"),
        ({"default_prompts": "coop"}, "default prompts"),
        ({"prompt_sets": {"clip": PromptSet(("{}",), {"c": "x"})}}, r"not there: \['c'\]"),
        ({"prompt_sets": {"clip": PromptSet(("{}", "{}"))}}, "a template twice"),
        ({"citation": "@misc{key, title = {A {b}, year = {2000}}"}, "braces|BibTeX"),
        ({"citation": "@misc{key, title = {A {b}}}"}, "no author, year"),
        ({"sizes": {"train": 1, "val": 1, "test": 1}}, "fewer test images"),
    ],
)
def test_a_broken_declaration_is_told(change: dict[str, object], message: str) -> None:
    sound = replace(
        ALL["vtab/pcam"],
        classes=("a", "b"),
        prompt_sets={"clip": PromptSet(("{}",))},
        default_prompts="clip",
    )
    check_dataset(sound)
    with pytest.raises(AssertionError, match=message):
        check_dataset(replace(sound, **change))  # type: ignore[arg-type]


def test_traps_of_the_sources() -> None:
    """Facts that an index instead of a name, or a list from memory, gets wrong."""

    def spoken(name: str, source: str, label: int) -> str:
        dataset = ALL[name]
        known = dataset.classes[label]
        return dataset.prompt_sets[source].names.get(known, known)  # type: ignore[index]

    assert spoken("vtab/clevr-distance", "clip-benchmark", 3) == ""
    assert spoken("vtab/pets", "clip", 1) == "american bulldog"  # OpenAI lists all cats first
    assert spoken("vtab/eurosat", "clip", 0) == "annual crop land"  # OpenAI lists forest first
    assert ALL["vtab/caltech101"].classes[4] == "background_google"
    assert ALL["vtab/sun397"].classes[206:208] == ("jail indoor", "jail cell")
    assert ALL["fewshot/sun397"].classes[206:208] == ("indoor jail", "jail_cell")
    assert ALL["fewshot/ucf101"].classes[34:36] == ("Hammering", "Hammer_Throw")  # OpenAI: reversed
    assert ALL["fewshot/cars"].classes[1] == "2012 Acura RL Sedan"
    assert spoken("fewshot/imagenet", "clip", 744) == "missile"
    assert ALL["vtab/dsprites-orientation"].classes[15] == "351-360 degrees"
    assert "unproven" in ALL["vtab/dmlab"].notes[0]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("vtab-cifar(num_classes=100)", "vtab/cifar100"),
        ('dsprites(predicted_attribute="label_orientation", num_classes=16)',
         "vtab/dsprites-orientation"),
        ('vtab-diabetic_retinopathy(config="btgraham-300")', "vtab/retinopathy"),
        ("vtba-pcam", "vtab/pcam"), ("VTAB-dSprites_location", "vtab/dsprites-location"),
        ("vtab-svhncropped", "vtab/svhn"), ("vtab-oxford_flowers", "vtab/flowers102"),
        ("clip-benchmark/wds_vtab-kitti_closest_vehicle_distance", "vtab/kitti"),
        ("wds_vtab-pets", "vtab/pets"), ("oxford_iiit_pet", "vtab/pets"),
        ("vtab-1k/clevr_dist", "vtab/clevr-distance"), ("smallnorb_azi", "vtab/smallnorb-azimuth"),
        ("OxfordPets", "fewshot/pets"), ("caltech-101", "fewshot/caltech101"),
        ("Flower102", "fewshot/flowers102"), ("standford-cars", "fewshot/cars"),
        ("fgvc_aircraft", "fewshot/aircraft"), ("imagenet-adversarial", "imagenet-a"),
        ("ImageNetV2", "imagenet-v2"), ("few-shot/dtd", "fewshot/dtd"),
        ("fewshot-dtd", "fewshot/dtd"),
    ],
)  # fmt: skip
def test_every_name_in_use_leads_to_its_dataset(text: str, name: str) -> None:
    assert catalog.find(text) == catalog.NamedDataset(name)


def test_names_of_two_of_none_and_of_another() -> None:
    for bare in SIX:
        with pytest.raises(ConfigError, match=rf"--data fewshot/{bare} .* or --data vtab/{bare} "):
            catalog.find(bare)
        assert catalog.find(bare, "vtab") == catalog.NamedDataset(f"vtab/{bare}")
    assert catalog.find("vtab-birds") is None
    elevation = catalog.find("vtab-smallnorb_distance")
    assert elevation is not None
    assert elevation.name == "vtab/smallnorb-elevation"
    assert "no task" in elevation.note
    with pytest.raises(ConfigError, match="Did you mean 'vtab/dmlab'"):
        catalog.resolve("vtab-dmlb")


def test_what_is_not_there_is_said_with_the_way_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"Looked for: TFDS folder .*data download vtab/dtd.*--root"
    ):
        catalog.resolve("vtab/dtd", root=tmp_path)
    with pytest.raises(DataError, match=r"Kaggle asks for an account"):
        catalog.resolve("vtab/retinopathy", root=tmp_path, layout="list folder")
    with pytest.raises(ConfigError, match=r"layout called 'wdz'.*webdataset"):
        catalog.resolve("vtab/dtd", root=tmp_path, layout="wdz")
    with pytest.raises(ConfigError, match=r"no prompts of 'coop'.*--template"):
        catalog.resolve("vtab/kitti", root=tmp_path, prompts="coop")
    with pytest.raises(ConfigError, match=r"no subset of 1000"):
        catalog.resolve("imagenet-a", root=tmp_path, subset="1000")
    for other in (tmp_path, "fashion"):
        with pytest.raises(ConfigError, match=r"--prompts is for benchmark datasets"):
            catalog.resolve(other, prompts="coop")
    assert set(get_args(PromptSource)) == {
        s for dataset in ALL.values() for s in dataset.prompt_sets
    }
