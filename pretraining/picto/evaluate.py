"""What picto can do on data it never saw, beside chance, raw pixels and random weights.

Fashion-MNIST's official test images, held-out icon families and the digits of scikit-learn are
only ever read here, and by the tasks of the study.
"""

import gzip
import random
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from torch.nn import functional
from transformers import CLIPModel, CLIPTokenizer

from pretraining.picto.augment import normalise
from pretraining.picto.heldout import NOUNS
from pretraining.picto.network import IMAGE_PX, image_features, text_features
from pretraining.picto.pack import Pack
from pretraining.picto.pictures import Pictures

FASHION_CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
DIGIT_CLASSES = tuple("zero one two three four five six seven eight nine".split())
PHOTO, ICON = "a photo of a {}.", "an icon of a {}"
RETRIEVED = 1000
SEEDS = (1, 2, 3)
SHOTS = (1, 4, 16)
Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Encoder:
    """A model folder with its tokenizer, in evaluation mode."""

    model: CLIPModel
    tokenizer: CLIPTokenizer

    @torch.no_grad()
    def images(self, pictures: torch.Tensor, chunk: int = 500) -> Floats:
        """Unit features (N, D) of pictures (N, 3, P, P) in 0 to 1."""
        parts = [
            image_features(self.model, normalise(part)) for part in torch.split(pictures, chunk)
        ]
        return torch.cat(parts).numpy()

    @torch.no_grad()
    def texts(self, texts: list[str]) -> Floats:
        """Unit features (N, D)."""
        ids = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt").input_ids
        return torch.cat([text_features(self.model, part) for part in ids.split(500)]).numpy()

    def accuracy(self, image: Floats, labels: Labels, names: list[str], template: str) -> float:
        """Zero-shot accuracy in percent of image features (N, D) with one prompt per class."""
        scores = image @ self.texts([template.format(name) for name in names]).T
        return 100 * float((scores.argmax(axis=1) == labels).mean())


def resize(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Grey pictures (N, P, P) as (N, 3, 48, 48) in 0 to 1, bicubic with antialiasing."""
    grey = torch.from_numpy(pixels).float().div(255).unsqueeze(1)
    large = functional.interpolate(grey, size=IMAGE_PX, mode="bicubic", antialias=True)
    return large.clamp(0, 1).expand(-1, 3, -1, -1)


def read_fashion(folder: Path, split: str) -> tuple[NDArray[np.uint8], Labels]:
    """Pixels (N, 28, 28) and labels of `train` or `t10k`."""
    images = gzip.decompress((folder / f"{split}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{split}-labels-idx1-ubyte.gz").read_bytes())
    pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28).copy()
    return pixels, np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)


def draw(labels: Labels, shots: int, seed: int) -> Labels:
    """Indices of `shots` examples per class."""
    generator = np.random.default_rng(seed)
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.concatenate([generator.permutation(rows)[:shots] for rows in classes])


def probe(train: Floats, train_labels: Labels, test: Floats, labels: Labels) -> float:
    """Test accuracy in percent of logistic regression; its penalty is chosen on `train` alone."""
    folds = min(4, int(np.bincount(train_labels).min()))
    mean, spread = train.mean(axis=0), train.std() + 1e-8
    if folds < 2:
        raise ValueError(f"a probe needs at least 2 examples per class, got {folds}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (ConvergenceWarning, FutureWarning))
        model = LogisticRegressionCV(
            Cs=np.logspace(-4, 1, 6), cv=folds, max_iter=500, use_legacy_attributes=True
        )
        model.fit((train - mean) / spread, train_labels)
    return 100 * float((model.predict((test - mean) / spread) == labels).mean())


def retrieval(encoder: Encoder, pack: Pack, pictures: Pictures, seed: int = 0) -> dict[str, float]:
    """Recall at 1 in percent among 1,000 held-out icons whose phrases all differ."""
    rng = random.Random(seed)
    first: dict[int, list[int]] = {}
    for row, phrase in enumerate(pack.phrase_of):
        first.setdefault(int(phrase), []).append(row)
    chosen = rng.sample(sorted(first), min(RETRIEVED, len(first)))
    rows = np.array([rng.choice(first[phrase]) for phrase in chosen])
    texts = encoder.texts([ICON.format(pack.phrases[phrase]["text"]) for phrase in chosen])
    scores = encoder.images(pictures.plain(rows)) @ texts.T
    right = np.arange(len(rows))
    return {
        "image_to_text": 100 * float((scores.argmax(axis=1) == right).mean()),
        "text_to_image": 100 * float((scores.argmax(axis=0) == right).mean()),
    }


def nouns(encoder: Encoder, pack: Pack, pictures: Pictures) -> dict[str, float]:
    """Zero-shot accuracy in percent over the 100 nouns, on every held-out icon of that name."""
    label_of = {noun: label for label, noun in enumerate(NOUNS)}
    labels = np.array([label_of.get(pack.phrases[p]["text"], -1) for p in pack.phrase_of])
    rows = np.flatnonzero(labels >= 0)
    image = encoder.images(pictures.plain(rows))
    score = encoder.accuracy(image, labels[rows], list(NOUNS), ICON)
    return {"zero_shot": score, "icons": float(len(rows))}


def few_shot_probes(
    represent: dict[str, tuple[Floats, Floats]], train_labels: Labels, labels: Labels
) -> dict[str, dict[str, float]]:
    """Probes of several representations (train, test) on the same draws: mean over three seeds."""
    scores: dict[str, dict[str, float]] = {name: {} for name in represent}
    for shots in (s for s in (*SHOTS, 100) if s > 1):
        for name, (train, test) in represent.items():
            runs = []
            for seed in SEEDS:
                rows = draw(train_labels, shots, seed)
                runs.append(probe(train[rows], train_labels[rows], test, labels))
            scores[name][f"{shots}_shot"] = float(np.mean(runs))
    return scores


def fashion(encoder: Encoder, untrained: Encoder, folder: Path) -> dict[str, dict[str, float]]:
    """Zero-shot and probes on the official 10,000 test images."""
    train_pixels, train_labels = read_fashion(folder, "train")
    pixels, labels = read_fashion(folder, "t10k")
    rows = np.unique(np.concatenate([draw(train_labels, 100, seed) for seed in SEEDS]))
    train_pixels, train_labels = train_pixels[rows], train_labels[rows]
    represent = {"raw pixels": (_raw(train_pixels), _raw(pixels))}
    zero_shot = {}
    for name, coder in (("picto", encoder), ("random weights", untrained)):
        test = coder.images(resize(pixels))
        represent[name] = (coder.images(resize(train_pixels)), test)
        zero_shot[name] = coder.accuracy(test, labels, list(FASHION_CLASSES), PHOTO)
    scores = few_shot_probes(represent, train_labels, labels)
    for name, score in zero_shot.items():
        scores[name]["zero_shot"] = score
    return scores


def digits(encoder: Encoder, untrained: Encoder) -> dict[str, dict[str, float]]:
    """The 1,797 digits of scikit-learn (8 x 8): zero-shot on all, probes on the second half."""
    data = load_digits()
    pixels = (data.images * (255 / 16)).astype(np.uint8)
    labels = data.target.astype(np.int64)
    half = len(pixels) // 2
    represent = {"raw pixels": (_raw(pixels[:half]), _raw(pixels[half:]))}
    zero_shot = {}
    for name, coder in (("picto", encoder), ("random weights", untrained)):
        features = coder.images(resize(pixels))
        represent[name] = (features[:half], features[half:])
        zero_shot[name] = coder.accuracy(features, labels, list(DIGIT_CLASSES), PHOTO)
    scores = few_shot_probes({n: r for n, r in represent.items()}, labels[:half], labels[half:])
    for name, score in zero_shot.items():
        scores[name]["zero_shot"] = score
    return scores


def _raw(pixels: NDArray[np.uint8]) -> Floats:
    return (pixels.reshape(len(pixels), -1) / 255).astype(np.float32)
