"""The command line of the recipe: `python -m pretraining.photo --help`."""

import argparse
import json
import shutil
from pathlib import Path

from pretraining.photo.sources import download, photos_of, teacher_of

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "src" / "fewtune" / "assets" / "photo"
PINS = ROOT / "tests" / "pretraining" / "photo_pins.json"
DEVELOPMENT = 1000  # photos of Tiny ImageNet's and Imagenette's validation parts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pretraining.photo", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("photo-work"), help="scratch folder")
    parser.add_argument("--threads", type=int, default=2)
    steps = parser.add_subparsers(dest="step", required=True)
    fetch = steps.add_parser("download", help="fetch and unpack photographs and packages")
    fetch.add_argument("--copies", type=Path, help="folder with git directories OWNER+NAME/repo")
    cached = steps.add_parser("cache", help="compute stem maps of the pool, then the targets")
    cached.add_argument("--views", type=int, help="stop after so many views  [all]")
    train = steps.add_parser("train", help="train the image tower, one leg")
    train.add_argument("--until", type=int, required=True, help="step at which the leg ends")
    train.add_argument("--views", type=int, help="views to train on  [all that are cached]")
    train.add_argument("--batch", type=int, default=128)
    train.add_argument("--decay", type=int, default=0, help="steps of falling rate at the end")
    train.add_argument("--rate", type=float, default=1.0, help="factor on all learning rates")
    train.add_argument("--start", default="trunk", help="checkpoint to continue from")
    train.add_argument("--to", default="trunk", help="checkpoint to write")
    steps.add_parser("text-targets", help="compute targets and vocabulary of the text tower")
    text = steps.add_parser("text-train", help="train the text tower, one leg")
    text.add_argument("--until", type=int, required=True, help="step at which the leg ends")
    text.add_argument("--decay", type=int, default=0, help="steps of falling rate at the end")
    steps.add_parser("text-evaluate", help="score the text tower on development photos")
    joined = steps.add_parser("assemble", help="put both towers into WORK/model")
    joined.add_argument("--trunk", default="trunk", help="checkpoint of the image tower")
    evaluate = steps.add_parser("evaluate", help="score a model folder, write its card")
    evaluate.add_argument("--model", type=Path, help="model folder  [WORK/model]")
    evaluate.add_argument("--words", type=Path, help="JSON with the card's words on training")
    export = steps.add_parser("export", help="copy a model folder into the package")
    export.add_argument("--model", type=Path, help="model folder  [WORK/model]")
    export.add_argument("--target", type=Path, default=ASSETS)
    steps.add_parser("tasks", help="write the tasks of the study into WORK/tasks, and verify them")
    sample = steps.add_parser("sample", help="write the sample task of the quickstart")
    sample.add_argument("--target", type=Path, default=ASSETS.parent / "sample" / "clothing.zip")
    return parser


def _cache(options: argparse.Namespace) -> None:
    from pretraining.photo.maps import cache
    from pretraining.photo.pool import View, development, views
    from pretraining.photo.targets import write_targets
    from pretraining.photo.teacher import load_teacher

    stem, weight, bias = load_teacher(teacher_of(options.work))
    photos, maps = photos_of(options.work), options.work / "maps"
    samples = [View("samples", path, 0) for path in sorted((photos / "samples").glob("*.JPEG"))]
    cache(stem, samples, maps / "samples")
    cache(stem, development(photos, DEVELOPMENT), maps / "development")
    cache(stem, views(photos)[: options.views], maps / "pool")
    target = options.work / "targets.safetensors"
    if not target.exists():
        write_targets(maps, stem.last, weight, bias, target)


def _train(options: argparse.Namespace) -> None:
    from pretraining.photo.maps import read_maps
    from pretraining.photo.network import start
    from pretraining.photo.targets import read_targets
    from pretraining.photo.teacher import load_teacher
    from pretraining.photo.train import Distillation, Leg, train

    stem, *_ = load_teacher(teacher_of(options.work))
    targets = read_targets(options.work / "targets.safetensors")
    maps = options.work / "maps"
    pool = read_maps(maps / "pool")
    views = options.views or len(pool)
    leg = Leg(options.until, views, options.batch, options.decay, rate=options.rate)
    student = Distillation(start(targets, stem.last, pool), stem.last, targets)
    begin, to = (options.work / f"{n}.safetensors" for n in (options.start, options.to))
    train(student, pool, read_maps(maps / "development"), leg, to if to.exists() else begin, to)


def _text_targets(options: argparse.Namespace) -> None:
    from pretraining.photo.classes import imagenet_classes
    from pretraining.photo.text_recipe import TextWork

    text = TextWork(options.work)
    text.download()
    text.write_targets(*imagenet_classes(photos_of(options.work)))
    text.write_tokenizer()


def _text_train(options: argparse.Namespace) -> None:
    from pretraining.photo.text_recipe import TextWork
    from pretraining.photo.text_train import Lesson

    text = TextWork(options.work)
    text.train(Lesson(options.until, options.decay))
    text.export()


def _text_evaluate(options: argparse.Namespace) -> None:
    from pretraining.photo.text_development import development
    from pretraining.photo.text_recipe import TextWork

    for name, score in TextWork(options.work).evaluate(development(options.work)).items():
        print(f"{name}: {score:.3f}")


def _assemble(options: argparse.Namespace) -> None:
    from pretraining.photo.export import assemble, write_folder
    from pretraining.photo.teacher import load_teacher

    stem, *_ = load_teacher(teacher_of(options.work))
    text = options.work / "text"
    model = assemble(options.work / f"{options.trunk}.safetensors", text, stem)
    write_folder(model, text, options.work / "model")


def _evaluate(options: argparse.Namespace) -> None:
    from pretraining.photo.card import write_card
    from pretraining.photo.evaluate import evaluate

    folder = options.model or options.work / "model"
    words = json.loads(options.words.read_text(encoding="utf-8")) if options.words else {}
    write_card(evaluate(folder, options.work), options.work, words, folder)


def _export(options: argparse.Namespace) -> None:
    from pretraining.photo.pins import write_pins

    options.target.mkdir(parents=True, exist_ok=True)
    for path in sorted((options.model or options.work / "model").iterdir()):
        shutil.copyfile(path, options.target / path.name)
    write_pins(options.target, PINS)


def main() -> None:
    """Runs one step of the recipe."""
    options = _parser().parse_args()
    if options.step == "download":
        download(options.work, options.copies)
        return
    if options.step == "sample":
        from pretraining.photo.sample import write_sample

        write_sample(photos_of(options.work) / "clothing-small", options.target)
        return
    if options.step == "tasks":
        from pretraining.photo.study import write_tasks

        write_tasks(options.work)
        return
    import torch

    torch.set_num_threads(options.threads)
    steps = {
        "cache": _cache,
        "train": _train,
        "text-targets": _text_targets,
        "text-train": _text_train,
        "text-evaluate": _text_evaluate,
        "assemble": _assemble,
        "evaluate": _evaluate,
        "export": _export,
    }
    steps[options.step](options)


if __name__ == "__main__":
    main()
