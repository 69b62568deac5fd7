"""The command line of the recipe: `python -m pretraining.picto --help`."""

import argparse
import json
import shutil
from pathlib import Path

from pretraining.picto.licences import sources_text
from pretraining.picto.sources import Sources, download

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "src" / "fewtune" / "assets" / "picto"
PINS = ROOT / "tests" / "pretraining" / "picto_pins.json"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pretraining.picto", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("picto-work"), help="scratch folder")
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("download", help="fetch and unpack the public packages")
    render = steps.add_parser("render", help="draw all icons, write the packed files")
    render.add_argument("--processes", type=int, default=2)
    steps.add_parser("tokenizer", help="train the vocabulary of the text tower")
    train = steps.add_parser("train", help="train the image tower on words, one leg")
    train.add_argument("--until", type=int, required=True, help="step at which the leg ends")
    train.add_argument("--px", type=int, default=32, help="resolution of this leg")
    train.add_argument("--batch", type=int, default=256)
    train.add_argument("--decay", type=int, default=0, help="steps of falling rate at the end")
    train.add_argument("--start", default="trunk", help="checkpoint to continue from")
    train.add_argument("--to", default="trunk", help="checkpoint to write")
    train.add_argument("--plain", type=float, default=0.5, help="share of plain views")
    train.add_argument("--balance", type=float, default=0.0, help="0.5: rare words more often")
    train.add_argument("--workers", type=int, default=2, help="cores; 1 on a GPU")
    align = steps.add_parser("align", help="train the text tower, tune both")
    align.add_argument("--start", default="trunk", help="checkpoint of the image tower")
    align.add_argument("--to", default="model", help="model folder to write, below --work")
    align.add_argument("--text-steps", type=int, default=1500)
    align.add_argument("--joint-steps", type=int, default=200)
    align.add_argument("--pictures", type=int, default=100_000)
    align.add_argument("--threads", type=int, default=2)
    evaluate = steps.add_parser("evaluate", help="score a model folder, write its card")
    evaluate.add_argument("--model", type=Path, help="model folder  [--work/model]")
    evaluate.add_argument("--digits", action="store_true", help="score the digits as well")
    evaluate.add_argument(
        "--tuned",
        type=float,
        nargs="?",
        const=1.0,
        default=0.0,
        metavar="SCALE",
        help="tune with the fewtune command, for this share of the recipes' steps  [1]",
    )
    evaluate.add_argument("--training", help="the card's words about the training")
    evaluate.add_argument("--hardware", help="the card's words about the hardware")
    evaluate.add_argument("--threads", type=int, default=2)
    export = steps.add_parser("export", help="copy a model folder into the package")
    export.add_argument("--model", type=Path, help="model folder  [--work/model]")
    export.add_argument("--target", type=Path, default=ASSETS)
    sample = steps.add_parser("sample", help="write the sample task of the quickstart")
    sample.add_argument("--target", type=Path, default=ASSETS.parent / "sample" / "fashion.zip")
    tasks = steps.add_parser("tasks", help="write the tasks of the study")
    tasks.add_argument("--target", type=Path, help="folder to write  [--work/tasks]")
    return parser


def _train(options: argparse.Namespace) -> None:
    from pretraining.picto.heldout import TRAIN_PACK
    from pretraining.picto.pack import read_pack
    from pretraining.picto.train import Leg, train

    leg = Leg(
        options.until,
        options.px,
        options.batch,
        options.decay,
        workers=options.workers,
        plain_share=options.plain,
        balance=options.balance,
    )
    start, target = (options.work / f"{n}.safetensors" for n in (options.start, options.to))
    train(read_pack(options.work / TRAIN_PACK), leg, target if target.exists() else start, target)


def _tokenizer(options: argparse.Namespace) -> None:
    from pretraining.picto.captions import vocabulary_texts
    from pretraining.picto.heldout import TRAIN_PACK
    from pretraining.picto.pack import read_pack
    from pretraining.picto.tokens import write_tokenizer

    texts = vocabulary_texts(read_pack(options.work / TRAIN_PACK).phrases)
    write_tokenizer(texts, options.work / "tokenizer")


def _align(options: argparse.Namespace) -> None:
    import torch
    from transformers import CLIPTokenizer

    from pretraining.picto.align import Aligner, Alignment, load_image_tower
    from pretraining.picto.export import export
    from pretraining.picto.heldout import TRAIN_PACK
    from pretraining.picto.pack import read_pack
    from pretraining.picto.targets import WordTargets

    torch.set_num_threads(options.threads)
    pack = read_pack(options.work / TRAIN_PACK)
    checkpoint = options.work / f"{options.start}.safetensors"
    model, head = load_image_tower(checkpoint, WordTargets.of(pack).frequency)
    tokenizer = CLIPTokenizer.from_pretrained(options.work / "tokenizer")
    plan = Alignment(options.text_steps, options.joint_steps, pictures=options.pictures)
    aligner = Aligner(pack, model, head, tokenizer, plan)
    aligner.align_text()
    if plan.joint_steps:
        aligner.tune_both()
    export(model, options.work / "tokenizer", options.work / options.to)


def _evaluate(options: argparse.Namespace) -> None:
    import torch

    from pretraining.picto.report import evaluate

    torch.set_num_threads(options.threads)
    folder = options.model or options.work / "model"
    words = {"training": options.training, "hardware": options.hardware}
    evaluate(folder, options.work, options.digits, options.tuned, words)


def _tasks(options: argparse.Namespace) -> None:
    from pretraining.picto.heldout import HELDOUT_PACK
    from pretraining.picto.pack import read_pack
    from pretraining.picto.tasks import write_tasks

    fashion = Sources(options.work).fashion_mnist
    heldout = read_pack(options.work / HELDOUT_PACK)
    write_tasks(fashion, heldout, options.target or options.work / "tasks")


def _export(options: argparse.Namespace) -> None:
    from pretraining.picto.pins import write_pins

    folder = options.model or options.work / "model"
    options.target.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.iterdir()):
        shutil.copyfile(path, options.target / path.name)
    sources = json.loads((options.work / "attribution.json").read_text(encoding="utf-8"))
    (options.target / "SOURCES").write_text(sources_text(sources), encoding="utf-8")
    write_pins(options.target, PINS)


def main() -> None:
    """Runs one step of the recipe."""
    options = _parser().parse_args()
    if options.step == "download":
        download(options.work)
    elif options.step == "render":
        from pretraining.picto.render import render

        render(options.work, options.processes)
    elif options.step == "tokenizer":
        _tokenizer(options)
    elif options.step == "train":
        _train(options)
    elif options.step == "align":
        _align(options)
    elif options.step == "evaluate":
        _evaluate(options)
    elif options.step == "export":
        _export(options)
    elif options.step == "tasks":
        _tasks(options)
    else:
        from pretraining.picto.sample import write_sample

        write_sample(Sources(options.work).fashion_mnist, options.target)


if __name__ == "__main__":
    main()
