"""Every reader of VTAB against a miniature in its form: the same keys, labels and class names."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import pytest

import miniatures
from fewtune.data.decode import open_image
from fewtune.data.label_table import LabelTable, to_task
from fewtune.datasets import catalog
from fewtune.datasets.readers.regenerated import RegeneratedDSprites
from miniatures.vtab import NAMES

SPLITS = ("train", "val", "test")


def by_key(table: LabelTable, split: str) -> dict[str, str]:
    return {row.key: row.class_name for row in table.rows if row.split == split}


@pytest.mark.parametrize("name", NAMES)
def test_readers_agree_with_the_miniature(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path / "cache"))
    dataset = catalog.load(name)
    forms = miniatures.forms_of(name)
    assert len(forms) >= 2
    seen = set()
    for form in forms:
        manifest = miniatures.write(name, form, tmp_path / form)
        readers = [r for r in dataset.readers if not isinstance(r, RegeneratedDSprites)]
        found = [(r, place) for r in readers if (place := r.find(manifest.root))]
        assert [reader.layout for reader, _ in found][1:] == [], form
        (reader, location), *_ = found
        seen.add(reader.layout)

        whole = reader.read(location, dataset, "full")
        assert whole.classes == dataset.classes
        if {image.split for image in manifest.images} == {""}:
            expected = {image.key: image.class_name for image in manifest.images}
            assert {row.key: row.class_name for row in whole.rows} == expected
        else:
            for split in SPLITS:
                assert by_key(whole, split) == manifest.split(split), (form, split)
        for row in whole.rows[::9]:
            source = pickle.loads(pickle.dumps(row.source))  # read in another process
            assert open_image(source).size >= (12, 10), form

        eight, thousand = (reader.read(location, dataset, subset) for subset in ("800", "1000"))
        assert by_key(eight, "test") == by_key(whole, "test") == by_key(thousand, "test")
        assert not by_key(thousand, "val")
        if reader.layout != "VTAB-1k list folder":  # its lists name copies of the same images
            merged = by_key(eight, "train") | by_key(eight, "val")
            assert by_key(thousand, "train") == merged
        # Miniatures are never taken for the official images.
        assert not [note for note in thousand.notes if note.startswith("official")], form
        assert Counter(e.label for e in to_task(whole, name).test)
    assert len(seen) == len(forms)
