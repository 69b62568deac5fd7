"""Tables, changes and confusions of finished runs, and the summary plot drawn of them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fewtune.core.percentages import interval, percent, signed
from fewtune.reports import summary
from fewtune.reports.confusions import Confusions
from fewtune.reports.summary_plot import CLASSES_SHOWN, write_summary_plot


def record(
    strategy: str, names: list[str], labels: list[int], predictions: list[int]
) -> dict[str, Any]:
    """Return what a summary plot reads of a record."""
    hits = [a == b for a, b in zip(labels, predictions, strict=True)]
    recalls = []
    for c in range(len(names)):
        of_class = [hit for hit, label in zip(hits, labels, strict=True) if label == c]
        recalls.append(sum(of_class) / len(of_class) if of_class else None)
    trained = strategy != "zero-shot"
    return {
        "hash": strategy,
        "spec": {
            "strategy": strategy, "options": {}, "task": "task", "backbone": "picto",
            "shots": 4 if trained else None, "seed": 0, "recipe": {"lr": 1} if trained else None,
        },
        "plan": {"steps_scale": 0.5 if trained else 1.0},
        "task": {"classes": names, "notes": [], "images": {"test": len(labels)}},
        "metrics": {"top1": sum(hits) / len(hits)},
        "per_class": recalls,
        "cost": {"trained_parameters": 7, "steps": 3, "training_s": 2.0},
    }  # fmt: skip


def random_runs(
    names: list[str], images: int, missing: int | None = None
) -> tuple[dict[str, Any], dict[str, Any], list[int], list[int]]:
    rng = random.Random(len(names))
    count = len(names)
    labels = [c for c in range(count) if c != missing for _ in range(images)]
    before, after = (
        [label if rng.random() < right else rng.randrange(count) for label in labels]
        for right in (0.3, 0.7)
    )
    zero_shot = record("zero-shot", names, labels, before)
    return record("clip-lora", names, labels, after), zero_shot, labels, after


AWKWARD = ["$x^2$", "long " * 30, "猫", "a\nb", "<b>", "%s {}"]


@pytest.mark.parametrize("count", [2, 10, CLASSES_SHOWN, CLASSES_SHOWN + 1])
def test_plots_of_any_size_are_1800_px_wide_and_repeatable(tmp_path: Path, count: int) -> None:
    names = [*AWKWARD, *(f"class {i}" for i in range(count))][:count]
    tuned, zero_shot, labels, predictions = random_runs(names, 4, missing=1 if count > 2 else None)
    for name in ("a.png", "b.png"):
        write_summary_plot(tmp_path / name, tuned, zero_shot, labels, predictions)
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == 1800
        assert image.height < 1.1 * image.width
        assert set(image.info) <= {"dpi"}
        assert len(image.convert("L").getcolors() or ()) > 20
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_zero_shot_run_is_drawn_without_changes(tmp_path: Path) -> None:
    _, zero_shot, labels, _ = random_runs(["a", "b", "c"], 3)
    write_summary_plot(tmp_path / "a.png", zero_shot, None, labels, labels)
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == 1125


def test_drawing_leaves_the_settings_of_matplotlib_alone(tmp_path: Path) -> None:
    import matplotlib

    tuned, zero_shot, labels, predictions = random_runs(["a", "b"], 3)
    before = dict(matplotlib.rcParams)
    write_summary_plot(tmp_path / "a.png", tuned, zero_shot, labels, predictions)
    assert dict(matplotlib.rcParams) == before


def test_a_perfect_run_of_many_classes_has_nothing_to_confuse(tmp_path: Path) -> None:
    names = [f"class {i}" for i in range(40)]
    labels = list(range(40))
    perfect = record("clip-lora", names, labels, labels)
    write_summary_plot(tmp_path / "a.png", perfect, perfect | {"hash": "other"}, labels, labels)
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_changes_skip_classes_without_test_images() -> None:
    assert summary.changes([0.5, None, 0.5, 0.25], [0.25, 1.0, 0.75, None]) == [
        (2, 0.25),
        (0, -0.25),
    ]


@pytest.mark.parametrize(
    ("gains", "losses", "expected"),
    [(20, 20, (2, 2)), (20, 1, (3, 1)), (0, 20, (0, 4)), (1, 1, (1, 1)), (3, 0, (3, 0))],
)
def test_both_sides_are_shown_and_unused_room_is_shared(
    gains: int, losses: int, expected: tuple[int, int]
) -> None:
    equal = [(1000 + i, 0.0) for i in range(5)]
    up = [(i, 0.5 - i / 100) for i in range(gains)]
    down = [(100 + i, -i / 100 - 0.01) for i in range(losses)]
    shown = summary.largest_changes([*up, *equal, *down], 4)
    assert shown == [*up[: expected[0]], *down[len(down) - expected[1] :]]


def test_few_classes_are_all_shown() -> None:
    ordered = [(0, 0.5), (1, 0.0), (2, -0.5)]
    assert summary.largest_changes(ordered, 3) == ordered


def test_confusions_are_counted_from_true_class_to_prediction() -> None:
    found = Confusions.of([([0, 0, 0, 1, 1, 2], [1, 1, 0, 0, 1, 2])])
    counts = [(*pair, found.images[pair], found.totals[pair[0]]) for pair in found.wrong()]
    assert counts == [(0, 1, 2, 3), (1, 0, 1, 2)]


def test_rows_put_zero_shot_first_once_and_mark_the_best() -> None:
    tuned, zero_shot, _, _ = random_runs(["a", "b", "c"], 20)
    for records in ([tuned], [zero_shot, tuned]):
        first, second = summary.rows(zero_shot, records)
        assert (first.title, first.gain, first.seconds, first.steps_scale) == (
            "Zero-shot CLIP", None, 0.0, 1.0,
        )  # fmt: skip
        assert second.gain == tuned["metrics"]["top1"] - zero_shot["metrics"]["top1"]
        assert (first.best, second.best, second.steps_scale) == (False, True, 0.5)


def test_the_interval_is_that_of_wilson() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3: 81 of 263, and 0 of 20.
    assert interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert interval(1, 4)[1] == pytest.approx(1)


def test_numbers_read_as_people_write_them() -> None:
    assert percent(0.84371) == "84.4"
    assert [signed(x) for x in (0.123, -0.04, 0.0, -0.0001)] == [
        "+12.3", "−4.0", "0.0", "0.0",
    ]  # fmt: skip
    assert [summary.shots_text(n) for n in (None, 1, 16)] == ["all images", "1 shot", "16 shots"]
    assert summary.shorten("ankle\n  boot", 20) == "ankle boot"
    assert summary.shorten("a long name", 7) == "a long…"
