"""The data report finds what is wrong, says it once, and repairs what can be repaired."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewtune.core.errors import DataError
from fewtune.core.paths import cache_dir
from fewtune.core.splits import with_test_split
from fewtune.core.task import ClassSet, Example, Task
from fewtune.data import verify as verify_module
from fewtune.data.decode import InMemory
from fewtune.data.findings import DataReport, Finding
from fewtune.data.image_facts import ImageFacts, inspect_image
from fewtune.data.layouts import open_task
from fewtune.data.packed_images import FileSlice
from fewtune.data.verify import repair, verify
from fewtune.datasets.loading import size_findings
from fixtures import class_folders, encoded, picture, split_folders, write_image


def kinds(report: DataReport) -> list[str]:
    return [finding.kind for finding in report.findings]


def finding(report: DataReport, kind: str) -> Finding:
    return next(finding for finding in report.findings if finding.kind == kind)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    counts = {"cat": 3, "dog": 3}
    return split_folders(tmp_path / "pets", train=counts, val={"cat": 1}, test=counts)


def test_clean_data_gives_counts_and_no_findings(root: Path) -> None:
    report = verify(open_task(root), shots=3)
    assert report.findings == ()
    assert report.images == 13
    assert report.counts == {
        "train": {"cat": 3, "dog": 3},
        "val": {"cat": 1, "dog": 0},
        "test": {"cat": 3, "dog": 3},
    }
    assert report.notes == ("layout: split folders",)


def test_unreadable_images_are_named_with_reasons_and_left_out(root: Path) -> None:
    (root / "train/cat/00.png").write_bytes(b"")
    (root / "test/dog/01.png").write_bytes(encoded(picture(1, (64, 64)))[:80])
    (root / "train/dog/gone.png").symlink_to(root / "nothing")
    task = open_task(root)
    report = verify(task)
    bad = finding(report, "unreadable")
    assert bad.level == "error"
    assert set(bad.keys) == {"train/cat/00.png", "test/dog/01.png", "train/dog/gone.png"}
    assert "3 images cannot be read" in bad.message
    assert "(the file is empty (0 bytes))" in bad.message
    mended = repair(task, report)
    assert (len(mended.train), len(mended.val), len(mended.test)) == (5, 1, 5)
    assert mended.notes[-1] == "left out 3 images that cannot be read"
    assert verify(mended).errors == ()


def test_test_images_that_are_trained_on_are_an_error_and_left_out(root: Path) -> None:
    shutil.copy(root / "train/cat/00.png", root / "test/cat/copy.png")
    Image.open(root / "val/cat/00.png").save(
        root / "test/cat/again.bmp"
    )  # other bytes, same pixels
    task = open_task(root)
    report = verify(task)
    leak = finding(report, "leak")
    assert leak.level == "error"
    assert set(leak.keys) >= {"train/cat/00.png", "test/cat/copy.png", "test/cat/again.bmp"}
    assert "2 pictures both in the test split and in another" in leak.message
    mended = repair(task, report)
    assert len(mended.train) == len(task.train)
    assert {e.key for e in task.test} - {e.key for e in mended.test} == {
        "test/cat/copy.png",
        "test/cat/again.bmp",
    }
    assert "left out 2 test images" in mended.notes[-1]
    assert "leak" not in kinds(verify(mended))


def test_a_class_whose_test_images_are_all_trained_on_is_named(root: Path) -> None:
    for number, path in enumerate(sorted((root / "test/cat").iterdir())):
        shutil.copy(root / f"train/cat/{number:02d}.png", path)
    task = open_task(root)
    mended = repair(task, verify(task))
    assert mended.notes[-1] == "no test image is left of 'cat': the scores say nothing about it"


def test_own_test_split_of_copies_is_repaired_with_the_report_made_before(tmp_path: Path) -> None:
    root = class_folders(tmp_path, {"cat": 10, "dog": 10})
    for index in range(10):
        shutil.copy(root / f"cat/{index:02d}.png", root / f"cat/{index:02d}-copy.png")
    task = open_task(root)
    report = verify(task)
    assert kinds(report) == ["duplicate"]
    mended = repair(with_test_split(task), report)
    learned = {report.facts[e.key].digest for e in mended.train}
    assert not learned & {report.facts[e.key].digest for e in mended.test}
    assert len(mended.test) < len(with_test_split(task).test)


def test_equal_pictures_with_different_labels(root: Path) -> None:
    shutil.copy(root / "train/cat/00.png", root / "train/dog/cat.png")
    report = verify(open_task(root))
    conflict = finding(report, "conflict")
    assert conflict.level == "error"
    assert conflict.keys == ("train/cat/00.png", "train/dog/cat.png")
    assert "train/cat/00.png = train/dog/cat.png" in conflict.message


def test_copies_in_one_split_and_in_validation_are_warnings(root: Path) -> None:
    shutil.copy(root / "train/cat/00.png", root / "train/cat/copy.png")
    shutil.copy(root / "train/cat/01.png", root / "val/cat/copy.png")
    report = verify(open_task(root))
    assert {f.kind: f.level for f in report.findings} == {
        "duplicate": "warning",
        "validation-leak": "warning",
    }
    assert finding(report, "duplicate").keys == ("train/cat/00.png", "train/cat/copy.png")


def test_balance_and_shots(tmp_path: Path) -> None:
    task = open_task(class_folders(tmp_path, {"cat": 20, "dog": 2, "emu": 3}))
    report = verify(task, shots=4)
    assert kinds(report) == ["fewer-than-shots", "imbalance"]
    assert "2 classes with fewer than 4 training images: dog (2), emu (3)" in str(report.findings)
    assert "factor of 10: cat has 20 training images, dog has 2" in str(report.findings)
    assert verify(replace(task, train=task.train[1:])).findings == ()
    empty = verify(replace(task, train=tuple(e for e in task.train if e.label != 1)))
    assert "1 class without training images: dog" in finding(empty, "no-training-images").message


def test_odd_images_are_told(root: Path) -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    odd = {
        "tiny.png": encoded(picture(1, (30, 7))),
        "grey.png": encoded(picture(2, mode="L")),
        "deep.png": encoded(Image.new("I;16", (9, 9), 900)),
        "clear.png": encoded(picture(3, mode="RGBA")),
        "moving.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "named.jpg": encoded(picture(4)),
    }
    for name, data in odd.items():
        (root / "train/cat" / name).write_bytes(data)
    report = verify(open_task(root))
    levels = {f.kind: (f.level, {k.rpartition("/")[2] for k in f.keys}) for f in report.findings}
    assert levels == {
        "tiny": ("warning", {"tiny.png"}),
        "animated": ("info", {"moving.gif"}),
        "16-bit": ("info", {"deep.png"}),
        "unused-bits": ("warning", {"deep.png"}),
        "transparent": ("info", {"clear.png"}),
        "wrong-suffix": ("info", {"named.jpg"}),
        "not-rgb": ("info", {"grey.png", "deep.png", "clear.png", "moving.gif"}),
    }
    assert [f.level for f in report.findings] == ["warning"] * 2 + ["info"] * 5
    assert "I;16 1" in finding(report, "not-rgb").message


def test_messages_are_single_lines_and_json_round_trips(root: Path) -> None:
    for index in range(5):
        (root / f"train/cat/0{index}.png").write_bytes(b"x")
    report = verify(open_task(root))
    message = finding(report, "unreadable").message
    assert message.count("train/cat") == 3
    assert message.endswith(", ...")
    assert "\n" not in message
    value = json.loads(json.dumps(report.to_json()))
    assert value["images"] == 15
    assert value["findings"][0]["keys"] == [f"train/cat/0{i}.png" for i in range(5)]


def test_repair_refuses_to_empty_a_class_or_the_test_split(root: Path) -> None:
    broken = open_task(root)
    for path in (root / "train/dog").iterdir():
        path.write_bytes(b"junk")
    with pytest.raises(DataError, match=r"'dog' has no training image.*train/dog/0\d\.png: it is"):
        repair(broken, verify(broken))
    shutil.rmtree(root / "test")
    shutil.copytree(root / "train", root / "test")
    for index in range(3):
        write_image(root / f"train/dog/0{index}.png", ("new", index))
    task = open_task(root)
    with pytest.raises(DataError, match="No test image is left"):
        repair(task, verify(task))


def test_repair_of_clean_data_changes_nothing(root: Path) -> None:
    task = open_task(root)
    assert repair(task, verify(task)) == task


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The images that were really opened."""
    seen: list[object] = []

    def spy(source: object) -> ImageFacts:
        seen.append(source)
        return inspect_image(source)

    monkeypatch.setattr(verify_module, "inspect_image", spy)
    return seen


def test_second_look_opens_nothing_and_a_change_is_seen(root: Path, decoded: list[object]) -> None:
    task = open_task(root)
    first = verify(task)
    assert len(decoded) == 13
    assert verify(task) == first
    assert verify(open_task(root), shots=9).facts == first.facts
    assert len(decoded) == 13
    write_image(root / "train/cat/00.png", "another", (20, 20))
    assert verify(open_task(root)) != first
    assert len(decoded) == 26


def test_unreadable_images_are_tried_again(root: Path, decoded: list[object]) -> None:
    (root / "train/cat/00.png").write_bytes(b"")
    verify(open_task(root))
    report = verify(open_task(root))
    assert decoded[13:] == [root / "train/cat/00.png"]
    assert kinds(report) == ["unreadable"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '["train/cat/00.png", {"no": 1}]', "\x00"])
def test_damaged_cache_is_computed_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path / "cache"))
    task = open_task(root)
    report = verify(task)
    (file,) = (tmp_path / "cache/verify").iterdir()
    file.write_text(content)
    assert verify(task) == report


def test_cache_that_cannot_be_written_is_no_error(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path / "file"))
    assert verify(open_task(root)).findings == ()


def test_images_that_are_no_files_are_verified_every_time(
    root: Path, decoded: list[object]
) -> None:
    task = open_task(root)
    held = replace(
        task, train=tuple(replace(e, source=InMemory(picture(e.key))) for e in task.train)
    )
    assert verify(held).findings == verify(held).findings == ()
    assert len(decoded) == 26


def test_progress_and_workers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_module, "CHUNK", 5)
    told: list[tuple[int, int]] = []
    verify(open_task(root), workers=3, progress=lambda done, total: told.append((done, total)))
    assert told == [(5, 13), (10, 13), (13, 13)]


def test_interruption_leaves_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(verify_module, "CHUNK", 1)
    monkeypatch.setattr(
        verify_module,
        "inspect_image",
        lambda source: (seen.append(source), inspect_image(source))[1],
    )
    many: Callable[[Task], Task] = lambda task: replace(  # noqa: E731
        task,
        train=tuple(replace(e, key=f"{n}-{e.key}") for n in range(300) for e in task.train),
    )

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(many(open_task(root)), workers=1, progress=stop)
    assert len(seen) < 1000


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"
    monkeypatch.delenv("FEWTUNE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "fewtune"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache/fewtune"


def test_the_splits_of_a_benchmark_are_kept_as_they_are(root: Path) -> None:
    shutil.copy(root / "train/cat/00.png", root / "test/cat/leaked.png")
    shutil.copy(root / "train/cat/00.png", root / "train/dog/other.png")
    task = replace(open_task(root), benchmark=True)
    report = verify(task)
    assert {f.kind: f.level for f in report.findings if f.kind in ("leak", "conflict")} == {
        "leak": "warning",
        "conflict": "warning",
    }
    assert not report.errors
    assert repair(task, report) == task


def test_images_within_a_file_are_remembered_until_the_file_changes(
    tmp_path: Path, decoded: list[object]
) -> None:
    pictures = [encoded(picture(seed)) for seed in range(4)]
    file = tmp_path / "shard.tar"
    file.write_bytes(b"".join(pictures))
    starts = [sum(map(len, pictures[:index])) for index in range(4)]
    examples = tuple(
        Example(str(index), index % 2, FileSlice(file, starts[index], len(pictures[index])))
        for index in range(4)
    )
    task = Task("packed", ClassSet(("a", "b")), examples)
    assert verify(task).facts == verify(task).facts
    assert len(decoded) == 4
    file.write_bytes(b"".join(pictures) + b" ")
    verify(task)
    assert len(decoded) == 8


@pytest.mark.parametrize(
    ("counts", "level"),
    [
        ({"train": 10, "val": 5, "test": 20}, None),
        ({"train": 1000, "val": 0, "test": 20}, None),
        ({"train": 800, "val": 200, "test": 20}, None),
        ({"train": 10, "val": 0, "test": 20}, "info"),
        ({"train": 9, "val": 5, "test": 20}, "info"),
        ({"train": 8, "val": 5, "test": 20}, "error"),
        ({"train": 1000, "val": 0, "test": 18}, "error"),
        ({"train": 10, "val": 5, "test": 23}, "warning"),
    ],
)
def test_sizes_are_compared_with_the_declared_ones(
    counts: dict[str, int], level: str | None
) -> None:
    splits = {
        split: tuple(Example(f"{split}/{i}", i % 2, Path("x")) for i in range(count))
        for split, count in counts.items()
    }
    task = Task("t", ClassSet(("a", "b")), **splits)
    found = [f.level for f in size_findings(task, {"train": 10, "val": 5, "test": 20})]
    assert found == ([] if level is None else [level])


@pytest.mark.parametrize(("peak", "bits"), [(4095, 12), (1000, 10), (255, 8)])
def test_bits_that_all_images_leave_unused_are_refused(
    tmp_path: Path, peak: int, bits: int
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for index in range(2):
            pixels = np.full((9, 9), peak - index, np.uint16)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    task = open_task(tmp_path)
    with pytest.raises(DataError, match=rf"4 images .* use {bits} of them: .* {peak} of 65535"):
        repair(task, verify(task))
    # One bright image shows that the others are dark, not stretched wrongly.
    Image.fromarray(np.full((9, 9), 60000, np.uint16)).save(tmp_path / "cat" / "bright.png")
    task = open_task(tmp_path)
    assert repair(task, verify(task)).train == task.train
