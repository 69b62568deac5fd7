"""Labels for any number of images: found, read, scored and forgotten a batch at a time."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fewtune.core.errors import DataError
from fewtune.data.decode import open_image
from fewtune.model.towers import Activations
from fewtune.training import scoring
from fewtune.training.device import autocast
from fewtune.training.image_loader import ImageLoader
from fewtune.training.load_run import Tuned

READERS = 8


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one image.

    Attributes:
        source: What was given: a path, a PIL image, an array, bytes.
        label: Index of the most probable class; None when the image could not be read.
        name: Its name; "" without one.
        probability: Its probability in [0, 1].
        top: (name, probability) of the most probable classes, best first.
        error: Why the image could not be read, or None.
    """

    source: Any
    label: int | None = None
    name: str = ""
    probability: float = 0.0
    top: tuple[tuple[str, float], ...] = ()
    error: str | None = None


def predict(
    tuned: Tuned, sources: Iterable[Any], batch: int = scoring.EVALUATION_BATCH, top: int = 1
) -> Iterator[Prediction]:
    """Yield a prediction for each source, in order.

    Args:
        sources: Paths, encoded bytes, PIL images, uint8 arrays, or image sources; read lazily.
        batch: Images read and scored at a time.
        top: How many classes `Prediction.top` holds.
    """
    head = tuned.head
    loader = ImageLoader((), head.model.preprocess, device=head.model.device)
    iterator = iter(sources)
    with head.model.merged():
        text = scoring.encode_classes(head, tuned.classes, tuned.precision)
    with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as pool:
        while chunk := list(itertools.islice(iterator, batch)):
            # Of each image only the model's view is kept: a batch of photos would take gigabytes.
            images = list(pool.map(_read, itertools.repeat(loader), chunk))
            readable = [image for image in images if not isinstance(image, str)]
            scored = iter(_score(tuned, text, loader, readable) if readable else ())
            for source, image in zip(chunk, images, strict=True):
                if isinstance(image, str):
                    yield Prediction(source, error=image)
                else:
                    yield _prediction(source, next(scored), tuned.classes.names, top)


def _read(loader: ImageLoader, source: Any) -> Tensor | str:
    """Return the pixels of an image, uint8 (3, S, S), or the reason why it has none."""
    try:
        return loader.test_view(open_image(source))
    except DataError as error:
        return error.what


def _score(
    tuned: Tuned, text: Activations | None, loader: ImageLoader, images: Sequence[Tensor]
) -> Tensor:
    """Return probabilities (N, C) in fp32 on the CPU."""
    model = tuned.head.model
    pixels = loader.normalise(torch.stack(list(images)))
    with model.merged(), torch.inference_mode(), autocast(model.device, tuned.precision):
        logits: Tensor = tuned.head(model.pixels(pixels), text).logits.float().cpu()
    scoring.require_finite(logits)
    return logits.softmax(1)


def _prediction(source: Any, shares: Tensor, names: Sequence[str], top: int) -> Prediction:
    best = shares.topk(min(max(1, top), len(names)))
    ranked = tuple(
        (names[label], share)
        for label, share in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    )
    return Prediction(source, int(best.indices[0]), *ranked[0], top=ranked)
