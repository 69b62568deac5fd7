"""`fewtune fit` from a folder to a table, and every way in which it says no."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import Cli, short

from fewtune.cli.support.console import Console
from fewtune.cli.support.data_checks import ShownOnConsole
from fewtune.core.errors import RunError
from fewtune.core.files import read_json
from fewtune.core.run_config import RunConfig
from fewtune.data.layouts import open_task
from fewtune.model.load_strategy import load_strategy
from fewtune.training import loop as loop
from fewtune.training.job import Job
from fewtune.training.named_recipes import named_recipe
from fewtune.training.prepare import Preparation, looks_like_photographs
from fewtune.training.tracking import Tracker
from fixtures import class_folders, picture, write_image


def spec_of(runs: Path, strategy: str) -> dict[str, object]:
    spec: dict[str, object] = read_json(next(runs.glob(f"{strategy}-*")) / "spec.json")
    return spec


def test_fit_prints_zero_shot_first_then_the_strategy(
    cli: Cli, images: Path, backbone: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    outcome = cli("fit", *short(images, backbone), "--steps-scale", "0.5")
    assert outcome.status == 0, outcome.err
    out = outcome.out
    assert out.startswith("No strategy given: using clip-lora.\n")
    assert "pets: 3 classes, images: 12 train, 9 test" in out
    assert "estimate: 1 step," in out
    assert "step 1/1, loss" in out
    assert out.index("zero-shot  ") < out.index("clip-lora  ") < out.index("gain ")
    assert "steps x0.5" in out
    assert max(map(len, out[out.index("top-1") :].splitlines()[:5])) <= 80
    folder = next((place / "runs").glob("clip-lora-*")).relative_to(place)
    assert f"next     fewtune predict {folder} image.jpg" in out

    again = cli("fit clip-lora", *short(images, backbone), "--steps-scale", "0.5")
    assert again.status == 0
    assert "complete already" in again.out
    assert "step 1/1" not in again.out
    assert out[out.index("top-1") :] == again.out[again.out.index("top-1") :]


def test_a_finished_run_shows_its_table_without_torch(
    tuned: Path, images: Path, backbone: Path
) -> None:
    words = ["fit", "clip-lora", *short(images, backbone), "--runs", str(tuned.parent)]
    for line, mark in ((words, "complete already"), (["evaluate", str(tuned)], "gain")):
        code = (
            "import sys\nfrom fewtune.cli.main import run\n"
            f"status = run({line!r})\nassert status == 0, status\n"
            "loaded = {'torch', 'transformers', 'torchvision'} & set(sys.modules)\n"
            "assert not loaded, loaded"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert mark in done.stdout


@pytest.mark.usefixtures("baseline")
def test_json_is_all_there_is_on_stdout(cli: Cli, images: Path, backbone: Path) -> None:
    outcome = cli("fit linear-probe --json", *short(images, backbone), "--views", "1")
    assert outcome.status == 0, outcome.err
    value = json.loads(outcome.out)
    assert set(value) == {"folder", "fresh", "record", "zero_shot"}
    assert value["fresh"] is True
    assert value["record"]["spec"]["strategy"] == "linear-probe"
    assert 0 <= value["zero_shot"]["metrics"]["top1"] <= 1
    assert "step 2/2" in outcome.err


@pytest.mark.usefixtures("baseline")
def test_quiet_leaves_the_results(cli: Cli, images: Path, backbone: Path) -> None:
    outcome = cli("fit Zero_Shot --quiet --precision fp32 --data", images, "--backbone", backbone)
    assert outcome.status == 0
    assert outcome.err == ""
    assert "estimate" not in outcome.out
    assert "top-1" in outcome.out


def test_flags_beat_the_file_and_the_file_beats_the_recipe(
    cli: Cli, images: Path, backbone: Path, place: Path
) -> None:
    (place / "run.toml").write_text(
        f'strategy = "clipfit"\nbackbone = "{backbone}"\nlambda = 2\nlr = 0.5\nflip = false\n'
        'length-unit = "steps"\nlength = 1\nbatch_size = 2\ntemplate = ["a {}.", "one {}."]\n'
        "warmup_lr = 'none'\nshots = 2\nquiet = true\ntime-budget = '1h'\n"
    )
    outcome = cli("fit --config run.toml --lr 0.25 --shots 1 --data", images)
    assert outcome.status == 0, outcome.err
    assert "No strategy given" not in outcome.out
    spec = spec_of(place / "runs", "clipfit")
    recipe = spec["recipe"]
    assert isinstance(recipe, dict)
    assert spec["options"] == {"lambda_": 2.0}
    assert (spec["shots"], recipe["lr"], recipe["batch_size"]) == (1, 0.25, 2)
    assert (recipe["flip"], recipe["warmup_lr"], recipe["momentum"]) == (False, None, 0.9)
    assert spec["time_budget_s"] == 3600
    task = read_json(next((place / "runs").glob("clipfit-*")) / "task.json")
    assert task["templates"] == ["a {}.", "one {}."]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rnk = 3", "unknown key 'rnk'. Did you mean 'rank'?"),
        ("rank = [2, 4]", "rank is a list of 2 values, but one run takes one value."),
        ("rank = 0", "run.toml: --rank must be a whole number from 1 to 1024, found '0'."),
        ("rank = 2.5", "found '2.5'"),
        ("rank = true", "rank must be a number or a text in quotes, found True."),
        ("flip = 1", "flip must be true or false, found 1."),
        ("[rank]\nx = 1", "[rank] is a table."),
        ("rank = ", "is not valid TOML"),
        ("config = 'b.toml'", "unknown key 'config'"),
        ("strategy = 'clipfti'", "Did you mean 'clipfit'?"),
    ],
)
def test_config_files_are_checked_as_strictly_as_flags(
    cli: Cli, place: Path, text: str, message: str
) -> None:
    (place / "run.toml").write_text(text)
    outcome = cli("fit --config run.toml --data x")
    assert outcome.status == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "No images were given. Add --data DIR"),
        ("--data nowhere", "There is no dataset and no folder called 'nowhere'."),
        ("--data ./nowhere", "does not exist"),
        ("--data x --backbone ViT-B61", "Did you mean 'ViT-B16'?"),
        ("--data x --backbone ./nothing", "there is no such file or folder"),
        ("--data x --shots 0", "--shots must be a whole number at least 1, found '0'."),
        ("--data x --steps-scale 0", "--steps-scale must be a number above 0"),
        ("--data x --seed -1", "--seed must be a whole number from 0"),
        ("--data x --time-budget soon", "--time-budget must be a time such as"),
        ("--data x --tracker wndb", "--tracker has no 'wndb'. Did you mean 'wandb'?"),
        ("--data x --precision fp16", "--precision has no 'fp16'."),
        ("zero-shot --data x --type vision", "zero-shot has no --type vision."),
    ],
)
def test_bad_flags_are_refused_before_anything_is_read(cli: Cli, flags: str, message: str) -> None:
    outcome = cli(f"fit {flags}")
    assert outcome.status == 2
    assert message in outcome.err
    assert outcome.out.count("\n") <= 1


def test_bad_names_and_devices(cli: Cli, images: Path, backbone: Path, place: Path) -> None:
    assert "cannot be part of" in cli("fit --name a/b", *short(images, backbone)).err
    assert "There is no device 'tpu'" in cli("fit --device tpu", *short(images, backbone)).err
    outcome = cli("fit --recipe peft4clp", *short(images, backbone))
    assert "Did you mean 'peft4clip'?" in outcome.err
    assert not list(place.glob("runs/*"))


def test_prompts_longer_than_the_context(cli: Cli, images: Path, backbone: Path) -> None:
    outcome = cli("fit --template", "a" * 100 + " {}.", *short(images, backbone))
    assert outcome.status == 2
    assert "tokens, but this backbone takes at most" in outcome.err


def test_a_run_without_its_zero_shot_run_says_so(cli: Cli, tuned: Path, place: Path) -> None:
    moved = shutil.copytree(tuned, place / "elsewhere" / tuned.name)
    assert "Zero-shot is missing: its run is not next to this one." in cli("evaluate", moved).out
    assert "Zero-shot is missing" not in cli("evaluate", tuned).out


def test_a_final_model_is_trained_on_all_images(
    cli: Cli, images: Path, backbone: Path, place: Path
) -> None:
    (place / "final.toml").write_text("final = true\n")
    for flags in (["--final"], ["--config", place / "final.toml"]):
        outcome = cli("fit linear-probe", *short(images, backbone), *flags)
        assert outcome.status == 0, outcome.err
    final = next((place / "runs").glob("linear-probe-pets-final-*"))
    line = f"final    runs/{final.name} (trained on all images, not measured itself)"
    assert line in outcome.out
    assert f"next     fewtune predict runs/{final.name} image.jpg" in outcome.out
    assert re.search(rf"{final.name} .* final model", cli("list runs").out)
    shown = cli("evaluate", final).out
    assert "A final model has no test images" in shown
    measured = next((place / "runs").glob(f"linear-probe-pets-{12 * '?'}"))
    assert f"These are the numbers of {measured.name}." in shown
    own = cli("evaluate", measured).out
    assert (
        shown.partition("gain ")[2].partition("share:")[0]
        == (own.partition("gain ")[2].partition("share:")[0])
    )


def test_templates_need_a_place_for_the_name(cli: Cli, images: Path, backbone: Path) -> None:
    outcome = cli("fit --template photo", *short(images, backbone))
    assert "must hold '{}' exactly once" in outcome.err


def test_one_class_is_refused(cli: Cli, backbone: Path, place: Path) -> None:
    outcome = cli("fit", *short(class_folders(place / "lone", {"cat": 3}), backbone))
    assert outcome.status == 2
    assert "a classifier needs at least 2" in outcome.err


def test_bad_images_are_reported_and_left_out(cli: Cli, backbone: Path, place: Path) -> None:
    root = class_folders(place / "pets", {"cat": 4, "dog": 4})
    (root / "cat" / "zz.jpg").write_bytes(b"<html>")
    (root / "dog" / "zz.png").write_bytes(b"")
    picture(1, mode="CMYK").save(root / "dog" / "print.jpg")
    outcome = cli("fit zero-shot --shots 9 --data", root, "--backbone", backbone)
    assert outcome.status == 0, outcome.err
    assert "problem: 2 images cannot be read: cat/zz.jpg (it is not an image but a web page" in (
        outcome.out
    )
    assert "warning: 2 classes with fewer than 9 training images" in outcome.out
    assert "also: 1 image stored in other modes than RGB (CMYK 1)" in outcome.out
    assert "left out 2 images that cannot be read" in outcome.out
    assert "own stratified test split" in outcome.out


@pytest.mark.usefixtures("baseline")
def test_ctrl_c_keeps_what_was_done(
    cli: Cli, images: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    make_step = loop.Training.step

    def interrupted(self: loop.Training, step: int) -> tuple[float, float]:
        if step == 1:
            raise KeyboardInterrupt
        return make_step(self, step)

    monkeypatch.setattr(loop.Training, "step", interrupted)
    outcome = cli("fit clip-lora", *short(images, backbone))
    assert outcome.status == 130
    assert outcome.err.strip() == "interrupted: type the same command to continue"
    assert "unfinished" in cli("list runs").out
    monkeypatch.undo()
    outcome = cli("fit clip-lora", *short(images, backbone))
    assert outcome.status == 0
    assert "continuing after step 1 of 2" in outcome.out


@pytest.mark.usefixtures("baseline")
def test_a_loss_that_is_no_number(
    cli: Cli, images: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        loop.Training, "forward", lambda *_: torch.tensor(math.nan).requires_grad_()
    )
    outcome = cli("fit clip-lora", *short(images, backbone))
    assert outcome.status == 2
    assert "The loss became nan at step 1 of 2." in outcome.err
    assert "Lower the learning rate: --lr 2e-05." in outcome.err
    assert "unfinished" in cli("list runs").out


def test_photographs_are_told_from_pictograms(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = class_folders(place / "flat", {"a": 2, "b": 2})
    assert not looks_like_photographs(open_task(flat))
    for name in ("a", "b"):
        for index in range(2):
            path = write_image(place / "rich" / name / f"{index}.png")
            picture((name, index), (7, 6)).resize((240, 220), 3).save(path)
    rich = place / "rich"
    assert looks_like_photographs(open_task(rich))
    preparation = Preparation(ShownOnConsole(Console()))
    preparation.task(RunConfig.of({"data": rich, "backbone": "ViT-B16"}))
    assert capsys.readouterr().err == ""
    Preparation(ShownOnConsole(Console())).task(RunConfig.of({"data": rich, "backbone": "Picto"}))
    assert "picto is a pictogram model" in capsys.readouterr().err


def test_named_recipes_stand_below_flags(
    cli: Cli, images: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []

    def stop(job: Job, tracker: Tracker) -> None:
        jobs.append(job)
        raise RunError("Enough.")

    monkeypatch.setattr("fewtune.training.run.run", stop)
    flags = ["--data", images, "--backbone", backbone, "--name", "caltech101"]
    for further in ([], ["--recipe", "peft4clip"], ["--recipe", "seed", "--lr", "0.125"]):
        assert "Enough." in cli("fit clip-adapter", *flags, *further).err
    paper, named_job, flagged = (job.recipe for job in jobs)
    named = named_recipe("peft4clip", "clip-adapter", "caltech101")
    assert paper == load_strategy("clip-adapter").recipe != named_job
    assert named_job is not None
    assert flagged is not None
    assert named_job.lr == named["lr"] != 0.125
    assert flagged.lr == 0.125
    assert flagged.length == named_job.length == named["length"]
