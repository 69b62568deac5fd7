r"""The command line of the repository FewTune grew from, kept working.

    python train.py --data vtab-caltech101 --backbone ViT-B16 --model VPT-CLIP-Shallow \
        --type vision --shots 8 --seeds 0

Tasks lie below `--root` in any form that `docs/datasets.md` names, as the list folder
`vtab-1k/caltech101/` for one. Shots are drawn from all training images that this form has.
Where that repository had settings for the task, they are used (`fewtune fit --recipe peft4clip`).
Everything else, and more, is `fewtune fit`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fewtune
from fewtune.core.errors import ConfigError, FewTuneError, RunError
from fewtune.core.files import write_text
from fewtune.core.splits import with_test_split
from fewtune.core.task import Task
from fewtune.datasets import catalog
from fewtune.reports.model_card import write_card
from fewtune.training.job import Job
from fewtune.training.named_recipes import named_recipe
from fewtune.training.prepare import Preparation
from fewtune.training.run import run
from fewtune.training.tracking import Step, Tracker, Trackers, make_tracker

# The name of its recipe, and of its prompts.
PEFT4CLIP = "peft4clip"
TENTHS = 10
MODELS = {
    "vpt-clip-shallow": "vpt-shallow",
    "vpt-clip-deep": "vpt-deep",
    "vpt-clip-linear": "linear-probe",
    "clip-adapter": "clip-adapter",
    "lora": "clip-lora",
}
WARMUP_EPOCHS = 5  # trained at the full rate, before the epochs that are named
FIGURES = {"Accuracy": "top1", "Precision": "precision", "Recall": "recall", "F1": "f1"}
RESULTS = "results.txt"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the flags."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("--data", default="vtab-caltech101", help="task: vtab-caltech101, vtab-dtd, ...")
    add("--root", type=Path, default=Path("data"), help="folder that holds the tasks")
    add("--backbone", default="ViT-B16", help="ViT-B32, ViT-B16, ViT-L14, MetaCLIP-B32-400M, ...")
    add(
        "--model",
        default="VPT-CLIP-Shallow",
        help="VPT-CLIP-Shallow, VPT-CLIP-Deep, VPT-CLIP-Linear, CLIP-Adapter, or a strategy",
    )
    add("--type", default="vision", choices=("vision", "vision-language"), help="classifier")
    add("--shots", type=int, default=8, help="training images per class; -1: all")
    add("--seed", "--seeds", type=int, default=0, help="of the draw and of training")
    add("--epochs", type=int, help="besides those of --warmup")
    add("--lr", type=float, help="learning rate")
    add("--warmup", type=int, help=f"first epochs, at the full rate too (default {WARMUP_EPOCHS})")
    add("--device", default="auto", help="auto, cuda, cpu")
    add("--runs", type=Path, default=Path("runs"), help="folder of run folders")
    for names, text in (
        (("--save_model",), "accepted; what was trained is always saved"),
        (("--wandb",), "log to Weights & Biases"),
        (("--evluate", "--evaluate"), "evaluate the run of these flags, which must be complete"),
    ):
        add(*names, type=yes_or_no, nargs="?", const=True, default=False, help=text)
    return made


def yes_or_no(text: str) -> bool:
    """Read "True", "no", "1" and the like."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"must be True or False, found {text!r}")
    return words[text.lower()]


class Printed(Tracker):
    """Prints what a run does: what begins, and a line for each tenth of the way."""

    def status(self, text: str) -> None:
        """Print what begins."""
        print(f"{text} ...", flush=True)

    def log(self, step: Step) -> None:
        """Print how far training is."""
        if step.step * TENTHS // step.total > (step.step - 1) * TENTHS // step.total:
            print(f"step {step.step:,}/{step.total:,}, loss {step.loss:.4f}", flush=True)


def find_task(name: str, root: Path, shots: int) -> Task:
    """Return a dataset by any of its names, with the prompts of that repository if it had some.

    Raises:
        ConfigError: There is no dataset of this name, and no folder.
        DataError: It is not below `root`.
    """
    found = catalog.find(name, "vtab") or catalog.find(name)
    if found is None:
        task = with_test_split(catalog.resolve(name))
    else:
        prompts = PEFT4CLIP if PEFT4CLIP in catalog.prompt_sources(found.name) else None
        named = name if found.note else found.name
        task = catalog.resolve(named, root=root, prompts=prompts, few_shot=shots != -1)
    for note in task.notes:
        print(f"  {note}")
    return task


def options(args: argparse.Namespace, strategy: str, task: str) -> dict[str, Any]:
    """Return the strategy's options: the repository's recipe where it has the task, then flags.

    Raises:
        ConfigError: `--warmup` alone, where there is no recipe that it could change.
    """
    try:
        chosen = named_recipe(PEFT4CLIP, strategy, task)
    except ConfigError as error:
        print(f"{error.what} The default recipe of {strategy} is used.")
        chosen = {}
    if args.lr is not None:
        chosen["lr"] = args.lr
    if args.epochs is not None or args.warmup is not None:
        warmup = WARMUP_EPOCHS if args.warmup is None else args.warmup
        if args.epochs is None and "length" not in chosen:
            raise ConfigError("--warmup needs --epochs here.", hint="For example: --epochs 10.")
        epochs = chosen["length"] - WARMUP_EPOCHS if args.epochs is None else args.epochs
        chosen |= {"length": epochs + warmup, "length_unit": "epochs"}
    return {**chosen, "type": args.type}


def make_job(args: argparse.Namespace) -> Job:
    """Return what the flags ask for.

    Raises:
        ConfigError: A flag is wrong.
        DataError: The images cannot be used.
    """
    name = fewtune.load_strategy(MODELS.get(args.model.lower(), args.model)).name()
    if args.shots < 1 and args.shots != -1:
        raise ConfigError(f"--shots must be at least 1, or -1 for all; found {args.shots}.")
    task = find_task(args.data, args.root, args.shots)
    asked = {
        "strategy": name,
        "backbone": args.backbone,
        "shots": None if args.shots == -1 else args.shots,
        "seed": args.seed,
        "device": args.device,
        "runs": args.runs,
        "tracker": "wandb" if args.wandb else "none",
        **options(args, name, task.name),
    }
    return Preparation(write_card=write_card).job(fewtune.RunConfig.of(asked), task)


def evaluate(job: Job) -> tuple[Path, dict[str, float]]:
    """Score the test images once more with what was trained; return the folder and the metrics.

    Raises:
        RunError: The run of these flags is not complete.
    """
    folder = job.folder()
    if not (folder / "record.json").exists():
        raise RunError(
            f"There is no complete run of these flags ({folder}).",
            hint="Type the command without --evluate first.",
        )
    return folder, fewtune.evaluate(folder, job.task).metrics[job.strategy.name()]


def train(job: Job) -> tuple[Path, dict[str, float]]:
    """Train, or read the results of a complete run; return its folder and metrics."""
    result = run(job, Trackers([Printed(), make_tracker(job.config.tracker)]))
    return result.folder, result.record["metrics"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    args = parser().parse_args(arguments)
    try:
        job = make_job(args)
        folder, found = evaluate(job) if args.evluate else train(job)
        figures = "".join(f"{name}: {found[key]:.4f}\n" for name, key in FIGURES.items())
        write_text(folder / RESULTS, figures)
        print(f"{figures}{folder / RESULTS}")
    except FewTuneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; the same command continues.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
