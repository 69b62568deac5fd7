"""The command line of peft4clip on a task in the list-folder layout."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import zlib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fewtune.backbones.model_names import backbone_names, resolve
from fewtune.model.load_strategy import load_strategy
from fewtune.testing import tiny_clip_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def train() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train", ROOT / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_clip_folder(tmp_path_factory.mktemp("backbone") / "clip", blocks=2))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vtab-1k/{caltech101,smallnorb_ele}: three colours, 10 training and 5 test images each."""
    root = tmp_path_factory.mktemp("data")
    for task in ("caltech101", "smallnorb_ele"):
        folder = root / "vtab-1k" / task
        for split, count in (("train800val200", 10), ("test", 5)):
            rows = [
                (f"images/{split}/{label}_{i}.png", label)
                for label in range(3)
                for i in range(count)
            ]
            for path, label in rows:
                write_colour(folder / path, label)
            lines = "".join(f"{path} {label}\n" for path, label in rows)
            (folder / f"{split}.txt").write_text(lines)
    return root


def write_colour(path: Path, label: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(zlib.crc32(path.name.encode())).integers(0, 90, (36, 40, 3))
    pixels[:, :, label] += 150
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def figures(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"^(\w+): ([\d.]+)$", text, re.M)}


def record_of(printed: str) -> tuple[Path, dict[str, Any]]:
    folder = Path(printed.strip().splitlines()[-1]).parent
    return folder, json.loads((folder / "record.json").read_text())


def test_the_readme_command_writes_four_figures(
    train: ModuleType, backbone: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (
        f"--data vtab-caltech101 --backbone {backbone} --model VPT-CLIP-Shallow --type vision "
        f"--shots 8 --seeds 0 --root {data} --runs {tmp_path} --device cpu"
    ).split()
    assert train.main(command) == 0
    printed = capsys.readouterr().out
    folder, record = record_of(printed)
    found = figures((folder / "results.txt").read_text())
    assert list(found) == ["Accuracy", "Precision", "Recall", "F1"]
    assert figures(printed) == found
    metrics = record["metrics"]
    wanted = [metrics[key] for key in ("top1", "precision", "recall", "f1")]
    assert list(found.values()) == pytest.approx(wanted, abs=6e-5)
    spec = record["spec"]
    assert (spec["shots"], spec["seed"], spec["task"]) == (8, 0, "vtab-caltech101")
    assert spec["options"] | {"tokens": 100, "projection": 768, "type": "vision"} == spec["options"]
    assert (spec["recipe"]["lr"], spec["recipe"]["length"]) == (0.3125, 15)
    assert train.main([*command, "--evluate", "True"]) == 0
    assert figures(capsys.readouterr().out) == found


def test_evaluation_needs_a_complete_run(
    train: ModuleType, backbone: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--backbone", backbone, "--root", str(data), "--runs", str(tmp_path), "--evluate"]
    assert train.main(command) == 2
    assert "without --evluate" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_task_that_never_was_and_all_images(
    train: ModuleType, backbone: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (
        f"--data vtab-smallnorb_distance --backbone {backbone} --model CLIP-Adapter --shots -1 "
        f"--type vision-language --epochs 1 --warmup 0 --lr 1e-3 --root {data} --runs {tmp_path} "
        "--save_model False --wandb False --device cpu"
    ).split()
    assert train.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "vtab/smallnorb-elevation is used" in printed
    _, record = record_of(printed)
    assert record["spec"]["shots"] is None
    assert record["task"]["images"]["train"] == 30
    assert record["spec"]["recipe"]["length"] == 1
    assert record["spec"]["strategy"] == "clip-adapter"


@pytest.mark.parametrize(
    ("model", "strategy"),
    [
        ("VPT-CLIP-Shallow", "vpt-shallow"), ("VPT-CLIP-Deep", "vpt-deep"),
        ("VPT-CLIP-Linear", "linear-probe"), ("CLIP-Adapter", "clip-adapter"),
        ("vpt-clip-deep", "vpt-deep"), ("LoRA", "clip-lora"), ("clipfit", "clipfit"),
    ],
)  # fmt: skip
def test_every_model_name_is_a_strategy(
    train: ModuleType, data: Path, model: str, strategy: str
) -> None:
    args = train.parser().parse_args(["--model", model, "--root", str(data)])
    job = train.make_job(args)
    assert isinstance(job.strategy, load_strategy(strategy))
    assert job.strategy.type == "vision"


@pytest.mark.parametrize(
    ("flags", "length"),
    [("", 15), ("--epochs 3", 8), ("--epochs 3 --warmup 1", 4), ("--warmup 2", 12)],
)
def test_epochs_and_warmup_add_up(train: ModuleType, data: Path, flags: str, length: int) -> None:
    args = train.parser().parse_args([*flags.split(), "--root", str(data)])
    recipe = train.make_job(args).recipe
    assert (recipe.length, recipe.length_unit, recipe.warmup) == (length, "epochs", 0)


def test_defaults_are_those_of_peft4clip(train: ModuleType) -> None:
    args = train.parser().parse_args([])
    found = (args.data, args.backbone, args.model, args.type, args.shots, args.seed)
    assert found == ("vtab-caltech101", "ViT-B16", "VPT-CLIP-Shallow", "vision", 8, 0)
    assert (args.evluate, args.save_model, args.wandb) == (False, False, False)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--wandb"], True), (["--wandb", "True"], True), (["--wandb", "1"], True),
        (["--wandb", "False"], False), (["--wandb", "no"], False), ([], False),
    ],
)  # fmt: skip
def test_false_is_false(train: ModuleType, arguments: list[str], wanted: bool) -> None:
    assert train.parser().parse_args(arguments).wandb is wanted


@pytest.mark.parametrize(
    "name",
    ["ViT-B32", "ViT-B16", "ViT-L14", "MetaCLIP-B32-400m"]
    + [f"MetaCLIP-{size}-{data}" for size in ("B32", "B16") for data in ("400M", "2.5B")],
)
def test_every_backbone_name_is_known(name: str) -> None:
    assert resolve(name).name in backbone_names()


def test_wandb_is_told(
    train: ModuleType, backbone: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[dict[str, Any]] = []
    started = SimpleNamespace(log=logged.append, finish=lambda: None)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **_: started))
    arguments = (
        f"--backbone {backbone} --model VPT-CLIP-Linear --wandb --epochs 1 --warmup 0 "
        f"--root {data} --runs {tmp_path} --device cpu"
    ).split()
    assert train.main(arguments) == 0
    assert any("test/top1" in values for values in logged)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--data vtab-dmlb", "Did you mean 'vtab/dmlab'"),
        ("--data vtab-dtd", "fewtune data download vtab/dtd"),
        ("--model VPT-CLIP-Shalow", "no strategy 'VPT-CLIP-Shalow'"),
        ("--shots 0", "--shots must be at least 1, or -1"),
        ("--model VPT-CLIP-Linear --type vision-language", "no --type vision-language"),
        ("--model clip-lora --warmup 3", "--warmup needs --epochs"),
        ("--lr -1", "--lr must be a number above 0 and at most 1e+06, found '-1.0'"),
        ("--backbone ViT-B61", "Did you mean"),
    ],
)
def test_wrong_flags_are_answered_in_one_line(
    train: ModuleType, data: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    assert train.main([*arguments.split(), "--root", str(data)]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.splitlines()) == 1
