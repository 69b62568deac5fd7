"""Writes the tasks of the study with picto: folders of images that anyone can make again.

`DIR/<task>/{train,val,test}/<class>/<index>.png`; class names are what stands in the prompts. Icons
are of held-out families, scenes of the pairs of shape and colour or count that training left out.
"""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from fewtune.datasets.readers import regenerated as dsprites
from pretraining.picto.evaluate import DIGIT_CLASSES, FASHION_CLASSES, draw, read_fashion
from pretraining.picto.pack import Pack
from pretraining.picto.pictures import Pictures
from pretraining.picto.scenes import COUNTS, Scene, draw_scene, render_scene

SEED = 0
TRAIN, VAL = 64, 16  # images of each class that shots and validation images are drawn from
TEST = 500  # images of all classes
# Hypernyms that WordNet gives the names of icons; an icon with two of them is in no class.
CATEGORIES = tuple(
    "animal arrow building container face food hand instrument plant vehicle".split()
)
ImageLoader = NDArray[np.uint8]
Labelled = dict[str, list[ImageLoader]]
Splits = dict[str, Labelled]


def _distinct(images: Labelled) -> Labelled:
    """The images without repetitions: two drawings may agree to the last pixel."""
    seen: set[bytes] = set()
    kept: Labelled = {}
    for name, of_class in images.items():
        new = {pixels.tobytes(): pixels for pixels in of_class}
        kept[name] = [pixels for key, pixels in new.items() if key not in seen]
        seen |= new.keys()
    return kept


def _split(images: Labelled) -> Splits:
    """Each class' images, in random order already: training, validation, the rest for the test."""
    images = _distinct(images)
    parts = {"train": slice(TRAIN), "val": slice(TRAIN, TRAIN + VAL)}
    parts["test"] = slice(TRAIN + VAL, TRAIN + VAL + TEST // len(images))
    return {
        split: {name: pixels[part] for name, pixels in images.items()}
        for split, part in parts.items()
    }


def _of_labels(pixels: ImageLoader, labels: NDArray[np.int64], names: tuple[str, ...]) -> Labelled:
    order = np.random.default_rng(SEED).permutation(len(labels))
    return {
        name: [pixels[row] for row in order if labels[row] == label]
        for label, name in enumerate(names)
    }


def fashion(folder: Path) -> Splits:
    """Fashion-MNIST: training images and 500 of the official test images."""
    train_pixels, train_labels = read_fashion(folder, "train")
    test_pixels, test_labels = read_fashion(folder, "t10k")
    per_class = TEST // len(FASHION_CLASSES)
    rows = draw(test_labels, per_class, SEED)
    return {
        **_split(_of_labels(train_pixels, train_labels, FASHION_CLASSES)),
        "test": _of_labels(test_pixels[rows], test_labels[rows], FASHION_CLASSES),
    }


def digits() -> Splits:
    """The digits of scikit-learn, 8 x 8 px, white on black."""
    loaded = load_digits()
    pixels = np.clip(loaded.images * 17, 0, 255).astype(np.uint8)
    return _split(_of_labels(pixels, loaded.target, tuple(f"digit {n}" for n in DIGIT_CLASSES)))


def icons(pack: Pack) -> Splits:
    """Held-out icons by category; all icons of one name are in one split."""
    pictures = Pictures.of(pack)
    rows_of: dict[str, dict[int, list[int]]] = {name: {} for name in CATEGORIES}
    for row, phrase in enumerate(pack.phrase_of):
        found = [name for name in CATEGORIES if name in pack.phrases[phrase]["words"]]
        if len(found) == 1:
            rows_of[found[0]].setdefault(int(phrase), []).append(row)
    splits: Splits = {"train": {}, "val": {}, "test": {}}
    for name, phrases in rows_of.items():
        order = random.Random(SEED).sample(sorted(phrases), len(phrases))
        # One icon a name, else a name of many variants is most of its class.
        chosen = [random.Random(SEED + phrase).choice(phrases[phrase]) for phrase in order]
        test, val = max(1, len(chosen) // 3), max(1, len(chosen) // 10)
        for split, part in (
            ("test", chosen[:test]),
            ("val", chosen[test : test + val]),
            ("train", chosen[test + val :]),
        ):
            plain = pictures.plain(np.array(part)).mul(255).round().byte().permute(0, 2, 3, 1)
            splits[split][name] = list(plain.numpy())
    return splits


def scenes(label: Callable[[Scene], str], allowed: Callable[[Scene], bool]) -> Splits:
    """Drawn scenes by a factor, on white; as many of each class as are needed."""
    rng, images = random.Random(SEED), dict[str, list[ImageLoader]]()
    first = (draw_scene(rng) for _ in range(4000))
    names = sorted({label(scene) for scene in first if allowed(scene)})
    needed = TRAIN + VAL + TEST // len(names)
    while len(images) < len(names) or any(len(i) < needed for i in images.values()):
        scene = draw_scene(rng)
        of_class = images.setdefault(label(scene), []) if allowed(scene) else None
        if of_class is not None and len(of_class) < needed:
            picture = Image.fromarray(render_scene(scene, rng))
            paper = Image.new("RGBA", picture.size, "white")
            of_class.append(np.asarray(Image.alpha_composite(paper, picture).convert("RGB")))
    return _split(images)


def how_many(scene: Scene) -> str:
    """The class of the counting task."""
    return f"{COUNTS[scene.count - 1]} shapes" if scene.count > 1 else "one shape"


def where(scene: Scene) -> str:
    """The class of the task of places."""
    return "a shape " + ("in the center" if scene.place == "center" else f"at the {scene.place}")


def sprites(label: Callable[[dsprites.Factors], str]) -> Splits:
    """dSprites, drawn from its factors, by one of them."""
    order = np.random.default_rng(SEED).permutation(dsprites.COUNT)[:8000]
    images: dict[str, list[ImageLoader]] = {}
    for index in map(int, order):
        images.setdefault(label(dsprites.factors(index)), []).append(dsprites.draw(index) * 255)
    return _split(dict(sorted(images.items())))


def column(factors: dsprites.Factors) -> str:
    """VTAB's class of a place: two of the 32 positions from left to right."""
    return f"a shape at {round(100 * (factors.x // 2) / 15)} percent from the left"


def turn(factors: dsprites.Factors) -> str:
    """VTAB's class of an orientation: 24 degrees each."""
    return f"a shape turned by {24 * int(factors.orientation / 2.5)} degrees"


def _write(splits: Splits, folder: Path) -> None:
    for split, classes in splits.items():
        for name, images in classes.items():
            target = folder / split / name
            target.mkdir(parents=True, exist_ok=True)
            for index, pixels in enumerate(images):
                Image.fromarray(pixels).save(target / f"{index:04d}.png")


def write_tasks(fashion_folder: Path, heldout: Pack, target: Path) -> None:
    """Writes all seven tasks, each once; a task that is there already is left alone."""
    makers: dict[str, Callable[[], Splits]] = {
        "fashion-mnist": lambda: fashion(fashion_folder),
        "digits": digits,
        "icon-categories": lambda: icons(heldout),
        "scene-count": lambda: scenes(how_many, lambda s: s.held_out),
        "scene-place": lambda: scenes(where, lambda s: s.count == 1 and s.held_out),
        "dsprites-location": lambda: sprites(column),
        "dsprites-orientation": lambda: sprites(turn),
    }
    for name, make in makers.items():
        if not (target / name).exists():
            partial = target / f"{name}.partial"
            _write(make(), partial)
            partial.rename(target / name)
            print(f"wrote {name}", flush=True)
