"""Every form of CoOp's datasets and of ImageNet gives the same paths, labels and class names."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

import miniatures
from fewtune.core.draws import few_shot
from fewtune.core.errors import DataError
from fewtune.core.task import Task
from fewtune.data.label_table import LabelTable, to_task
from fewtune.datasets import catalog
from fewtune.datasets.readers.coop_folders import match_classes
from fewtune.datasets.readers.noah import DOUBLED_NOTE, UNION_NOTE
from miniatures import Manifest, archives, imagenet
from miniatures import few_shot as coop

FORMS = [*coop.FORMS, *archives.FORMS, *imagenet.FORMS]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all miniatures of this module."""
    return tmp_path_factory.mktemp("forms")


def write(name: str, form: str, folder: Path) -> Manifest:
    """Write a miniature to the folder of its form, in which others of the form may lie."""
    return miniatures.write(name, form, folder / form.replace(" ", "-"))


def read(name: str, root: Path) -> LabelTable:
    """Read a dataset with the first of its readers that finds it."""
    dataset = catalog.load(name)
    found = ((reader, reader.find(root)) for reader in dataset.readers)
    reader, place = next((reader, place) for reader, place in found if place is not None)
    return reader.read(place, dataset, "full")


def open_written(name: str, form: str, folder: Path) -> Task:
    return to_task(read(name, write(name, form, folder).root), "t")


def check(name: str, manifest: Manifest) -> LabelTable:
    """Read a dataset and compare paths, splits and classes with what was written."""
    table = read(name, manifest.root)
    kept = {image.split for image in manifest.images} - {""}
    found = {r.key: (r.split if r.split in kept else "", r.class_name) for r in table.rows}
    assert found == {i.key: (i.split, i.class_name) for i in manifest.images}, name
    assert table.classes == catalog.load(name).classes, name
    assert all(table.classes[i.label] == i.class_name for i in manifest.images), name
    assert all(Path(str(r.source)).stat().st_size == r.size_bytes for r in table.rows), name
    return table


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_agree(form: str, written: Path) -> None:
    for name in miniatures.forms()[form].names:
        manifest = write(name, form, written)
        table = check(name, manifest)
        own = any(image.split == "" for image in manifest.images)
        assert any("own split" in note for note in table.notes) == own, name
        if own:
            sizes = [sum(row.split == split for row in table.rows) for split in ("train", "val")]
            assert sizes[0] > sizes[1] > 0, name
        elif form in coop.FORMS and "NOAH" not in form:
            assert [r.key for r in table.rows] == [i.key for i in manifest.images], name


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("fewshot/cars", "2SFS lists"),
        ("fewshot/aircraft", "2SFS lists"),
        ("fewshot/flowers102", "NOAH lists"),
        ("fewshot/pets", "NOAH lists"),
    ],
)
def test_published_lists_are_draws(name: str, form: str, tmp_path: Path) -> None:
    task = open_written(name, form, tmp_path)
    for shots, seed, split, rows in coop.few_shot_lists(coop.rows_of(name)):
        drawn = few_shot(task, shots, seed, "published")
        if split == "train":
            assert [e.key for e in drawn.train] == [row.key for row in rows]
        elif form == "2SFS lists":
            assert [e.key for e in drawn.val] == [row.key for row in rows]
        else:
            assert drawn.val == task.val
    pets = name == "fewshot/pets"
    assert (DOUBLED_NOTE.format("1 shot") in task.notes) == pets
    assert (UNION_NOTE in task.notes) == (form == "NOAH lists" and not pets)


def test_a_list_that_contradicts_the_split_is_refused(tmp_path: Path) -> None:
    root = write("fewshot/dtd", "2SFS lists", tmp_path).root
    file = root / "dtd" / "split_fewshot" / "shot_1-seed_0_train.jsonl"
    text = file.read_text()
    file.write_text(text.replace('"_label": 3,', '"_label": 4,'))
    with pytest.raises(DataError, match="label 4, but its class is"):
        read("fewshot/dtd", root)
    test_image = next(row.key for row in coop.rows_of("fewshot/dtd") if row.split == "test")
    file.write_text(f'{{"_impath": "dtd/images/{test_image}", "_label": 0}}\n')
    with pytest.raises(DataError, match="not among the training and validation images"):
        read("fewshot/dtd", root)


DTD = catalog.load("fewshot/dtd")


def with_names(changes: dict[int, str], order: Sequence[int] = range(47)) -> list[str]:
    return [changes.get(label, DTD.classes[label]) for label in order]


def test_classes_are_told_by_name_whatever_their_number_or_spelling() -> None:
    file = Path("split.json")
    assert match_classes([n.upper() for n in DTD.classes], DTD, file) == (DTD.classes, ())
    order = [1, 0, *range(2, 47)]
    matched, notes = match_classes(with_names({}, order), DTD, file)
    assert matched == tuple(DTD.classes[label] for label in order)
    assert "names decide" in notes[0]
    matched, notes = match_classes(with_names({5: "chekered"}), DTD, file)
    assert matched == DTD.classes
    assert "'chekered' is 'chequered'" in notes[0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (with_names({})[1:], "has 46 classes, but"),
        (with_names({1: "fluffy", 5: "blotchy"}), "'fluffy', which"),
        (with_names({3: "Banded"}), "two names for one class"),
    ],
    ids=["count", "strange", "twice"],
)
def test_classes_of_another_dataset_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        match_classes(names, DTD, Path("split.json"))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    root = write("fewshot/eurosat", "CoOp folder", tmp_path).root
    gone = next((root / "eurosat" / "2750" / "River").iterdir())
    gone.unlink()
    with pytest.raises(DataError, match=f"1 of 25 images .* 'River/{gone.name}'"):
        read("fewshot/eurosat", root)
    shutil.rmtree(root / "eurosat" / "2750" / "River")
    (root / "eurosat" / "split_zhou_EuroSAT.json").unlink()
    with pytest.raises(DataError, match="has 9 class folders, but EuroSAT has 10 classes"):
        read("fewshot/eurosat", root)


def test_imagenet_is_the_same_wherever_its_folders_lie(tmp_path: Path) -> None:
    manifest = imagenet.as_clip_lora(imagenet.coop("", tmp_path))
    check("fewshot/imagenet", manifest)
    manifest = imagenet.as_noah(manifest)
    task = to_task(check("fewshot/imagenet", manifest), "t")
    assert [(d.shots, d.seed) for d in task.published] == [(1, 0), (2, 0)]
    left_out = set(task.train) - set(few_shot(task, 1, 0, "published").train)
    assert [example.key for example in left_out] == ["train/n01440764/n01440764_0.JPEG"]


@pytest.mark.parametrize("name", coop.SETS)
def test_folders_go_by_the_names_of_clip_lora(name: str, tmp_path: Path) -> None:
    kind, reader = coop.SETS[name], catalog.load(name).readers[0]
    folder = tmp_path / kind.folders[1]
    folder.mkdir()
    for file in (f"split_zhou_{kind.split_file}.json", "images_variant_train.txt", "variants.txt"):
        (folder / file).touch()
    assert reader.find(tmp_path) == reader.find(folder) == folder


def test_variants_alone_are_test_sets(tmp_path: Path) -> None:
    root = write("imagenet-a", "ImageNet variant", tmp_path).root
    beside = to_task(read("imagenet-a", root), "a")
    assert len(beside.train) == len(imagenet.training_rows(imagenet.VARIANTS["imagenet-a"][2]))
    assert any("papers train on all 1,000" in note for note in beside.notes)
    (root / "imagenet").rename(root / "elsewhere")
    alone = to_task(read("imagenet-a", root), "a")
    assert (len(alone.train), len(alone.test)) == (0, 4)
    assert "no training images: a test set for what was trained on other images" in alone.notes
    names = root / "imagenet-adversarial" / "classnames.txt"
    names.write_text(names.read_text().replace("n01498041", "n00000000"))
    with pytest.raises(DataError, match="does not list the class folder 'n01498041'"):
        read("imagenet-a", root)
