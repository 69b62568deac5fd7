r"""The command line of the repository FewTune grew from, kept working.

    python train.py --data vtab-caltech101 --backbone ViT-B16 --model VPT-CLIP-Shallow \
        --type vision --shots 8 --seeds 0

Tasks lie below `--root` in any form that `docs/datasets.md` names, as the list folder
`vtab-1k/caltech101/` for one. Shots are drawn from all training images that this form has.
Where that repository had settings for the task, they are used (`fewtune fit --recipe seed`).
Everything else, and more, is `fewtune fit`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewtune.cli.support.console import Console, complain
from fewtune.core.errors import ConfigError, FewTuneError, RunError

if TYPE_CHECKING:
    from fewtune.core.task import Task
    from fewtune.training.job import Job

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


def find_task(name: str, root: Path, shots: int, console: Console) -> Task:
    """Return a dataset by any of its names, with the prompts of that repository if it had some.

    Raises:
        ConfigError: There is no dataset of this name, and no folder.
        DataError: It is not below `root`.
    """
    from fewtune.core.task import with_test_split
    from fewtune.datasets import catalog

    found = catalog.find(name, "vtab") or catalog.find(name)
    if found is None:
        task = with_test_split(catalog.resolve(name))
    else:
        wording = "seed" if "seed" in catalog.wordings(found.name) else None
        named = name if found.note else found.name
        task = catalog.resolve(named, root=root, wording=wording, few_shot=shots != -1)
    for note in task.notes:
        console.line(f"  {note}")
    return task


def options(args: argparse.Namespace, strategy: str, task: str, console: Console) -> dict[str, Any]:
    """Return the strategy's options: the seed recipe where it has the task, below the flags.

    Raises:
        ConfigError: `--warmup` alone, where there is no recipe that it could change.
    """
    from fewtune.training.named_recipes import named_recipe

    try:
        chosen = named_recipe("seed", strategy, task)
    except ConfigError as error:
        console.line(f"{error.what} The default recipe of {strategy} is used.")
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


def make_job(args: argparse.Namespace, console: Console) -> Job:
    """Return what the flags ask for."""
    from fewtune.model.load_strategy import load_strategy
    from fewtune.training.job import Job
    from fewtune.training.named_recipes import configure

    name = load_strategy(MODELS.get(args.model.lower(), args.model)).name()
    if args.shots < 1 and args.shots != -1:
        raise ConfigError(f"--shots must be at least 1, or -1 for all; found {args.shots}.")
    task = find_task(args.data, args.root, args.shots, console)
    strategy, recipe = configure(name, options(args, name, task.name, console))
    return Job.of(
        strategy,
        task,
        args.backbone,
        recipe,
        shots=None if args.shots == -1 else args.shots,
        seed=args.seed,
        device=args.device,
        runs=args.runs,
    )


def train(job: Job, wandb: bool, console: Console) -> tuple[Path, dict[str, float]]:
    """Train, or read the results of a complete run; return its folder and metrics."""
    from fewtune.cli.support.progress import make_terminal
    from fewtune.training.run import run
    from fewtune.training.tracking import Trackers, make_tracker

    tracker = make_tracker("wandb" if wandb else "none")
    with make_terminal(console) as terminal:
        result = run(job, Trackers([terminal, tracker]))
    return result.folder, result.record["metrics"]


def evaluate(job: Job) -> tuple[Path, dict[str, float]]:
    """Score the test images once more with what was trained.

    Raises:
        RunError: The run of these flags is not complete.
    """
    import torch

    from fewtune.backbones import clip
    from fewtune.training.device import choose_device, choose_precision
    from fewtune.training.load_run import load_run
    from fewtune.training.scoring import metrics

    model = clip.load(job.config.backbone)
    precision = choose_precision(choose_device(job.config.device), job.config.precision)
    folder = job.config.runs / job.spec(model.revision, model.name, precision).folder()
    if not (folder / "record.json").exists():
        raise RunError(
            f"There is no complete run of these flags ({folder}).",
            hint="Type the command without --evluate first.",
        )
    logits = load_run(folder, job.config.device).scores(job.task.test)
    return folder, metrics(logits, torch.tensor([example.label for example in job.task.test]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    args = parser().parse_args(arguments)
    console = Console()
    try:
        from fewtune.core.files import write_text

        job = make_job(args, console)
        folder, found = evaluate(job) if args.evluate else train(job, args.wandb, console)
        figures = "".join(f"{name}: {found[key]:.4f}\n" for name, key in FIGURES.items())
        write_text(folder / RESULTS, figures)
        console.line(f"{figures}{folder / RESULTS}")
    except FewTuneError as error:
        complain(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        complain("Interrupted; the same command continues.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
