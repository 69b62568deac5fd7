"""Split files and few-shot lists from anywhere: read right, or refused in words."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.core.errors import FewTuneError
from fewtune.data.label_table import LabelledRow
from fewtune.data.layouts import open_task
from fewtune.data.layouts.list_folder import read_list
from fewtune.data.layouts.split_file import read_split_json
from fewtune.datasets import catalog
from fewtune.datasets.readers.coop_folders import read_jsonl_draws
from fixtures import flat_images

SPLIT = {
    "train": [["benign/a (1).png", 0, "benign tumour"], ["sound/b.png", 1, "sound"]],
    "val": [["sound/c.png", 1, "sound"]],
    "test": [["benign/d.png", 0, "benign tumour"]],
}


def write_json(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


@pytest.mark.parametrize("images", ["", "BUSI"])
def test_own_images_with_a_split_file(tmp_path: Path, images: str) -> None:
    write_json(tmp_path / "split_BUSI.json", SPLIT)
    paths = [path for rows in SPLIT.values() for path, _, _ in rows]
    flat_images(tmp_path / images, [str(path) for path in paths])
    task = open_task(tmp_path)
    assert task.classes.names == ("benign tumour", "sound")
    assert [(e.key, e.label) for e in (*task.train, *task.val, *task.test)] == [
        (row[0], row[1]) for rows in SPLIT.values() for row in rows
    ]
    assert "layout: split file (json)" in task.notes
    write_json(tmp_path / "split_other.json", SPLIT)
    with pytest.raises(FewTuneError, match="2 split files: 'split_BUSI"):
        open_task(tmp_path)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ([["a.png", 0, "a"], ["b.png", 0, "b"]], "label 0 is both 'a' and 'b'"),
        ([["a.png", 0, "a"], ["b.png", 1, "a"]], "'a' has both label 0 and 1"),
        ([["a.png", 0, "a"], ["b.png", 2, "b"]], "no image with label 1, but some up to 2"),
        ([["../a.png", 0, "a"]], "train entry 1 leads out of the folder or"),
        ([["C:\\a.png", 0, "a"]], "train entry 1 leads out of the folder or"),
        ([["a.png", True, "a"]], r"expected \[path, label, class name\]"),
        ([["a.png", -1, "a"]], "label -1 and class 'a'"),
        ("a.png", "'train' is not a list"),
    ],
)
def test_what_is_wrong_with_a_split_file(tmp_path: Path, train: Any, message: str) -> None:
    with pytest.raises(FewTuneError, match=message):
        read_split_json(write_json(tmp_path / "split.json", {"train": train}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
PATHS = st.sampled_from(["a", "../a", "b/../../a", "/etc/hosts"]) | st.text(
    alphabet="a./\\ :\0é\n" + string.digits, max_size=12
)
ENTRY = st.tuples(PATHS | JSON, st.integers(-1, 3) | JSON, st.text(max_size=3) | JSON).map(list)
ALMOST = PATHS.map(lambda path: [path, 0, "banded"])
FILES = st.one_of(
    st.lists(ALMOST, min_size=1, max_size=2).map(lambda rows: json.dumps({"train": rows})),
    st.fixed_dictionaries({"train": st.lists(ENTRY | JSON, max_size=4) | JSON}).map(json.dumps),
    st.lists(
        st.fixed_dictionaries({"_impath": PATHS | JSON, "_label": st.integers(-1, 50) | JSON})
    ).map(lambda rows: "\n".join(map(json.dumps, rows))),
    PATHS.map(lambda path: f"{path} 0"),
    st.lists(PATHS, max_size=3).map(lambda paths: "path,label\n" + ",cat\n".join(paths)),
    st.text(max_size=40),
).map(lambda text: text.encode("utf-8", "surrogatepass"))


@settings(max_examples=100)
@given(content=FILES | st.binary(max_size=40))
def test_no_file_makes_a_traceback_or_leads_out_of_its_folder(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz" / "set"
    lists = folder / "split_fewshot"
    lists.mkdir(parents=True, exist_ok=True)
    (folder / "a").write_bytes(b"x")
    (folder.parent / "a").write_bytes(b"x")
    (folder / "split_x.json").write_bytes(content)
    (lists / "shot_1-seed_1_train.jsonl").write_bytes(content)
    table = folder.parent / "labels.csv"
    table.write_bytes(content)
    rows = [LabelledRow("train", "a", "banded", folder / "a")]
    for reading in (
        lambda: [folder / entry.path for entry in read_split_json(folder / "split_x.json")],
        lambda: [row.source for row in read_list(folder / "split_x.json", "train")],
        lambda: [e.source for split in open_task(folder).splits().values() for e in split],
        lambda: [folder for _ in open_task(table).train],  # its paths may be absolute
        lambda: [
            folder / key
            for draw in read_jsonl_draws(folder, rows, catalog.load("fewshot/dtd"))
            for key in draw.train
        ],
    ):
        try:
            named = reading()
        except FewTuneError:
            continue
        assert all(Path(str(p)).resolve().is_relative_to(folder.resolve()) for p in named)
