"""List folders and webdataset shards: what people have, what is damaged, and what is hostile."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fewtune.core.errors import DataError, FewTuneError
from fewtune.datasets import catalog
from fewtune.datasets.readers.vtab_lists import VtabLists
from fewtune.datasets.readers.webdataset import WebDataset
from fixtures import list_folder
from miniatures.vtab import write_shards, write_tar

SVHN = catalog.load("vtab/svhn")
LISTS = VtabLists(("svhn",))
SHARDS = WebDataset("vtab-svhn")
Change = Callable[[Path], object]


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    rows = [(f"images/a b/{i:06d}.png", i % 10) for i in range(14)]
    folder = tmp_path / "svhn"
    return list_folder(
        folder,
        {
            "train800": rows[:8],
            "val200": rows[8:10],
            "train800val200": rows[:10],
            "test": rows[10:],
        },
    )


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shards("vtab/svhn", tmp_path)
    return tmp_path / "clip-benchmark/wds_vtab-svhn"


def counts(folder: Path, subset: str = "1000") -> tuple[int, ...]:
    rows = LISTS.read(folder, SVHN, subset).rows  # type: ignore[arg-type]
    return tuple(sum(row.split == split for row in rows) for split in ("train", "val", "test"))


@pytest.mark.parametrize(
    "parent", ["", "vtab-1k", "VTAB-1k", "svhn itself"], ids=["root", "vtab-1k", "case", "folder"]
)
def test_lists_are_found_where_people_have_them(lists: Path, parent: str) -> None:
    if parent == "svhn itself":
        assert LISTS.find(lists) == lists
        assert VtabLists(("cifar",)).find(lists) is None
        return
    root = lists.parent / "root"
    (root / parent).mkdir(parents=True)
    lists.rename(root / parent / "svhn")
    assert VtabLists(("svhn_cropped", "svhn")).find(root) == root / parent / "svhn"


def test_windows_line_ends_spaces_and_a_missing_last_one(lists: Path) -> None:
    before = LISTS.read(lists, SVHN, "1000")
    for file in lists.glob("*.txt"):
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n").removesuffix(b"\r\n"))
    assert LISTS.read(lists, SVHN, "1000") == before
    assert before.rows[3].key == "images/a b/000003.png"


def test_subsets_from_the_lists_that_are_there(lists: Path) -> None:
    assert counts(lists) == counts(lists, "full") == (10, 0, 4)
    assert counts(lists, "800") == (8, 2, 4)
    (lists / "train800val200.txt").rename(lists / "kept.txt")
    assert counts(lists) == (10, 0, 4)
    (lists / "val200.txt").unlink()
    with pytest.raises(DataError, match=r"has no val200\.txt"):
        counts(lists)
    (lists / "kept.txt").rename(lists / "train800val200.txt")
    (lists / "train800.txt").unlink()
    assert counts(lists, "800") == (10, 0, 4)
    (lists / "test.txt").unlink()
    with pytest.raises(DataError, match=r"has no test\.txt"):
        counts(lists)


def test_lists_of_the_right_sizes_are_official(lists: Path) -> None:
    image = "images/a b/000000.png"
    lines = {"train800": 800, "val200": 200, "train800val200": 1000}
    for name, count in lines.items():
        (lists / f"{name}.txt").write_text(f"{image} 3\n" * count)
    for subset in ("1000", "800", "full"):
        notes = LISTS.read(lists, SVHN, subset).notes  # type: ignore[arg-type]
        assert notes[0] == "official lists of VTAB-1k"
    (lists / "val200.txt").write_text(f"{image} 3\n" * 199)
    assert LISTS.read(lists, SVHN, "800").notes[0].startswith("not the official lists")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("images/a b/000000.png 10", "has label 10, but the labels of SVHN run from 0 to 9"),
        ("images/a b/000000.png", "expected a path, a space and a label"),
        ("../../../etc/hostname 1", "leads out of the folder"),
        ("/etc/hostname 1", "leads out of the folder"),
        ("images/a b/gone.png 1", "does not exist"),
    ],
)
def test_bad_lines_are_named(lists: Path, line: str, message: str) -> None:
    (lists / "test.txt").write_text(f"images/a b/000001.png 1\n{line}\n")
    with pytest.raises(DataError, match=rf"test\.txt line 2.*{message}"):
        LISTS.read(lists, SVHN, "1000")


def test_shards_are_found_under_every_name_and_without_a_train_split(
    shards: Path, tmp_path: Path
) -> None:
    assert SHARDS.find(tmp_path) == SHARDS.find(tmp_path / "clip-benchmark") == shards
    assert SHARDS.find(shards) == shards
    assert WebDataset("vtab-svhn2").find(tmp_path) is None
    renamed = tmp_path / "vtab-svhn_test"
    shards.rename(renamed)
    (renamed / "train").rename(tmp_path / "train")
    assert SHARDS.find(tmp_path) == renamed
    table = SHARDS.read(renamed, SVHN, "full")
    assert table.notes[0] == "this copy has test images only"
    assert {row.split for row in table.rows} == {"test"}


def test_an_empty_class_name_is_a_class(shards: Path) -> None:
    names = shards / "classnames.txt"
    names.write_text("\n".join(["zero", "", *map(str, range(2, 10))]) + "\n")
    notes = SHARDS.read(shards, SVHN, "full").notes
    names.write_text("zero\none\n")
    short = SHARDS.read(shards, SVHN, "full").notes
    assert set(short) - set(notes) == {"classnames.txt lists 2 classes, expected 10"}


def member(name: str, data: bytes = b"1", **fields: object) -> Change:
    """Replace the test shard by one with this member after a sound pair."""

    def change(folder: Path) -> None:
        with tarfile.open(folder / "test/0.tar", "w") as archive:
            for sound, content in (("s0000000.cls", b"1"), ("s0000000.png", b"x")):
                info = tarfile.TarInfo(sound)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            info = tarfile.TarInfo(name)
            for field, value in fields.items():
                setattr(info, field, value)
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data))

    return change


def cut_to(size: int) -> Change:
    def change(folder: Path) -> None:
        path = folder / "test/0.tar"
        path.write_bytes(path.read_bytes()[:size])

    return change


def compressed(folder: Path) -> None:
    with tarfile.open(folder / "test/0.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("s0000000.cls"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (member("../s0000001.png"), "expected files such as"),
        (member("/etc/s0000001.png"), "expected files such as"),
        (member("s0000001.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "no plain file"),
        (member("s0000001.png", type=tarfile.LNKTYPE, linkname="s0000000.png"), "no plain file"),
        (member("s0000001.png", type=tarfile.FIFOTYPE), "no plain file"),
        (member("s0000001.pyc"), "expected files such as"),
        (member(f"{'s' * 120}.png"), "no plain file"),
        (member("s0000001.png", pax_headers={"path": "../x.png"}), "no plain file"),
        (member("s0000000.webp"), "two files of one kind"),
        (member("s0000001.png"), r"s0000001 in .* has no label \(\.cls\)"),
        (member("s0000001.cls"), "s0000001 in .* has no image"),
        (member("s0000001.cls", b"-1"), "has the label '-1'"),
        (member("s0000001.cls", b"9" * 200), "has the label '9999"),
        (lambda f: (f / "test/0.tar").unlink(), r"0\.tar is missing"),
        (lambda f: (f / "test/0.tar").write_bytes(b"<html>" * 200), "Cannot read the archive"),
        (lambda f: (f / "test/0.tar").write_bytes(b""), "it is cut off"),
        *[(cut_to(size), "it is cut off|ends within") for size in (400, 1100, 1536, 3000)],
        (compressed, "Cannot read the archive"),
        (lambda f: (f / "test/nshards.txt").write_text("many"), "holds 'many'"),
        (lambda f: (f / "test/nshards.txt").write_text("999999999"), "holds '999999999'"),
        (
            lambda f: write_tar(f / "test/0.tar", [("s0.cls", b"10"), ("s0.png", b"")]),
            "has label 10, but the labels of SVHN run from 0 to 9",
        ),
    ],
)
def test_damaged_and_hostile_shards_are_refused(shards: Path, change: Change, message: str) -> None:
    change(shards)
    with pytest.raises(DataError, match=message):
        SHARDS.read(shards, SVHN, "full")


def test_labels_of_shards_may_need_a_rule(tmp_path: Path) -> None:
    dataset = catalog.load("vtab/dsprites-orientation")
    reader = next(r for r in dataset.readers if isinstance(r, WebDataset))
    write_shards("vtab/dsprites-orientation", tmp_path)
    folder = reader.find(tmp_path)
    assert folder is not None
    write_tar(folder / "test/0.tar", [("s0.cls", b"39"), ("s0.png", b"")])
    assert reader.read(folder, dataset, "full").rows[-1].class_name == dataset.classes[15]
    write_tar(folder / "test/0.tar", [("s0.cls", b"40"), ("s0.png", b"")])
    with pytest.raises(DataError, match="Found 40 as orientation"):
        reader.read(folder, dataset, "full")


NASTY = st.text(st.sampled_from("a./\\ ~\0\n\r\t0123-é\u2028\ud800"), max_size=12)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.tuples(NASTY, NASTY), max_size=4), data=st.binary(max_size=60))
def test_no_list_leads_astray(lists: Path, lines: list[tuple[str, str]], data: bytes) -> None:
    text = "".join(f"{path} {label}\n" for path, label in lines)
    (lists / "test.txt").write_bytes(text.encode("utf-8", "surrogatepass") + data)
    try:
        table = LISTS.read(lists, SVHN, "1000")
    except FewTuneError:
        return
    for row in table.rows:
        assert isinstance(row.source, Path)
        assert row.source.resolve().is_relative_to(lists)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, 6000), st.binary(min_size=1, max_size=8)), max_size=6),
    end=st.integers(0, 6000),
)
def test_no_shard_leads_astray(shards: Path, edits: list[tuple[int, bytes]], end: int) -> None:
    path = shards / "test/0.tar"
    kept = path.with_suffix(".kept")
    if not kept.exists():
        kept.write_bytes(path.read_bytes())
    data = bytearray(kept.read_bytes())
    for offset, replacement in edits:
        data[offset : offset + len(replacement)] = replacement
    path.write_bytes(bytes(data) if end % 3 else bytes(data[:end]))
    try:
        rows = SHARDS.read(shards, SVHN, "full").rows
    except FewTuneError:
        return
    for row in rows:
        assert not isinstance(row.source, Path)
        assert isinstance(row.source.read(), bytes)
