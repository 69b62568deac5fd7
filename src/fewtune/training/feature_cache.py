"""Images as they enter the tower: what nothing trained can change is computed once and kept.

Kept are the activations at the cut, or pixels where no block lies below it; in memory within a
budget, and on disk for other runs where the strategy has left everything below the cut as it was.
What does not fit is streamed from the images.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from fewtune.core.files import digest
from fewtune.core.spec import Precision
from fewtune.core.task import Example
from fewtune.data.arrays import content_digest
from fewtune.data.decode import refuse_test_image
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.towers import Activations
from fewtune.training.device import autocast, rows_of, send
from fewtune.training.disk_cache import DiskCache
from fewtune.training.image_loader import ImageLoader, chunks

ENCODING_BATCH = 64
# Raise it whenever decoding, views or the test transform come to give other pixels.
PIXELS_VERSION = 1


class FeatureCache:
    """Batches of images as they enter the image tower, at the stage up to which they are kept.

    Args:
        cut: Leading stages that nothing trainable influences.
        views: Views of each image that come again and again; 0: a new view every epoch.
        budget_bytes: Memory for what is kept: activations first, decoded images in the rest.
        store: Where activations are shared with other runs; None keeps them in memory only.
        encoding_batch: Images that are sent through frozen stages at a time.

    Attributes:
        at: The stage that kept images enter: the cut, or 0 where pixels are kept.
        kept: How many views of all images fit into the budget; the others are streamed.
    """

    def __init__(
        self,
        model: DualEncoder,
        pixels: ImageLoader,
        cut: int,
        precision: Precision,
        *,
        views: int,
        budget_bytes: float,
        store: DiskCache | None = None,
        encoding_batch: int = ENCODING_BATCH,
    ) -> None:
        self.encoding_batch = encoding_batch
        self.model = model
        self.pixels = pixels
        self.precision: Precision = precision
        self.views = views if pixels.augmented else 1
        self.store = store if blocks_below(model, cut) else None
        self.at, self.kept, view_bytes = self._choose(cut, budget_bytes)
        if self.views != 1:  # images are read again
            pixels.keep_bytes = budget_bytes - self.kept * view_bytes
        self._kept: dict[int, Tensor] = {}

    @classmethod
    def once(
        cls,
        model: DualEncoder,
        pixels: ImageLoader,
        cut: int = 0,
        precision: Precision = "fp32",
        *,
        budget_bytes: float = 0,
        store: DiskCache | None = None,
        encoding_batch: int = ENCODING_BATCH,
    ) -> Self:
        """Return images that this run reads once, so that only the store makes them worth keeping.

        Args are those of the class.
        """
        if store is None or not blocks_below(model, cut):
            budget_bytes = 0
        return cls(
            model,
            pixels,
            cut,
            precision,
            views=1,
            budget_bytes=budget_bytes,
            store=store,
            encoding_batch=encoding_batch,
        )

    @property
    def finished(self) -> bool:
        """Whether the embeddings of all views are kept: a batch of any size takes no computing."""
        return 0 < self.views == self.kept and self.at == len(self.model.image.stages())

    def batch(self, indices: Sequence[int], epoch: int = 0) -> Activations:
        """Return the batch that an epoch sees of these images."""
        slot = self._slot(epoch)
        if slot >= self.kept:
            return self.model.pixels(self.pixels.batch(indices, self._view(slot)))
        x = rows_of(self._whole(slot), indices)
        if self.at == 0:
            return self.model.pixels(self.pixels.normalise(x))
        return Activations(self.model.image, send(x, self.model.device), self.at)

    def prefetch(self, indices: Sequence[int], epoch: int = 0) -> None:
        """Begin to read the images of a coming batch, if it is streamed to another device.

        On a CPU, reading would take the cores from what is computed meanwhile.
        """
        slot = self._slot(epoch)
        if slot >= self.kept and self.model.device.type != "cpu":
            self.pixels.prefetch(indices, self._view(slot))

    def batches(self) -> Iterator[Activations]:
        """Yield all images in order, as many at a time as are encoded."""
        parts = list(chunks(len(self.pixels.examples), self.encoding_batch))
        for part, coming in zip(parts, [*parts[1:], range(0)], strict=True):
            batch = self.batch(part)
            self.prefetch(coming)
            yield batch

    def _slot(self, epoch: int) -> int:
        """Return the number of the view that an epoch sees."""
        return epoch % self.views if self.views else epoch

    def _view(self, slot: int) -> int | None:
        return slot if self.pixels.augmented else None

    def _choose(self, cut: int, budget_bytes: float) -> tuple[int, int, int]:
        """Return the stage at which views are kept, how many fit, and the bytes of one."""
        if not self.views or budget_bytes <= 0:
            return cut, 0, 0
        count = max(1, len(self.pixels.examples))
        raw_bytes = count * 3 * self.model.preprocess.size_px**2
        if not cut:
            return 0, min(self.views, int(budget_bytes // raw_bytes)), raw_bytes
        view_bytes = count * self._advance(self._probe_pixels(), cut).nbytes
        fit = int(budget_bytes // view_bytes)
        if fit < self.views and raw_bytes < view_bytes and not blocks_below(self.model, cut):
            return 0, min(self.views, int(budget_bytes // raw_bytes)), raw_bytes
        return cut, min(self.views, fit), view_bytes

    @torch.inference_mode(False)
    def _whole(self, slot: int) -> Tensor:
        """Return what is kept of one view of all images: (N, ...)."""
        if slot not in self._kept:
            self._kept[slot] = self._placed(self._fetch(self._view(slot)))
            if len(self._kept) == self.views:
                self.pixels.forget()
        return self._kept[slot]

    def _fetch(self, view: int | None) -> Tensor:
        if self.store is None or self._untouched is None:
            return self._compute(view)
        for example in self.pixels.examples:
            refuse_test_image(example.source)
        return self.store.get(self._about(view), lambda: self._compute(view))

    def _compute(self, view: int | None) -> Tensor:
        parts = list(chunks(len(self.pixels.examples), self.encoding_batch))
        made = []
        for part, coming in zip(parts, [*parts[1:], range(0)], strict=True):
            raw = self.pixels.raw(part, view)
            if self.model.device.type != "cpu":
                self.pixels.prefetch(coming, view)
            if self.at:
                made.append(self._advance(self.pixels.normalise(raw), self.at).cpu())
            else:
                made.append(raw)
        return torch.cat(made)

    @torch.no_grad()
    def _advance(self, x: Tensor, stop: int) -> Tensor:
        with autocast(self.model.device, self.precision):
            return self.model.pixels(x).advance(stop).x

    def _placed(self, whole: Tensor) -> Tensor:
        """Move activations to the device if all views take at most a quarter of what is free."""
        device = self.model.device
        if device.type == "cpu" or self.at == 0:
            return whole
        if device.type == "cuda":
            free_bytes, _ = torch.cuda.mem_get_info(device)
            if whole.nbytes * self.kept > free_bytes / 4:
                return whole
        return whole.to(device)

    def _about(self, view: int | None) -> dict[str, Any]:
        """Return all that decides the activations of one view, to the bit."""
        device = self.model.device
        recipe = self.pixels.recipe
        augmentation: dict[str, Any] = {}
        if view is not None and recipe is not None:
            augmentation = {
                "seed": self.pixels.seed,
                "view": view,
                "crop_scale": recipe.crop_scale,
                "flip": recipe.flip,
            }
        return {
            "backbone": self.model.name,
            "revision": self.model.revision,
            "stage": [*(s.name for s in self.model.image.stages()), "end"][self.at],
            "images": len(self.pixels.examples),
            "data": self._data,
            "augmentation": augmentation,
            "preprocess": asdict(self.model.preprocess),
            "pixels": PIXELS_VERSION,
            "batch": self.encoding_batch,
            "precision": self.precision,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "threads": torch.get_num_threads(),
            "versions": versions(),
            "probe": self._untouched,
        }

    @functools.cached_property
    def _data(self) -> str:
        return digest([identity(example) for example in self.pixels.examples])

    @functools.cached_property
    def _untouched(self) -> str | None:
        """Digest of a fixed image's activations; None where they are not the backbone's own."""
        found = self._probe()
        with self.model.original():
            return found if self._probe() == found else None

    def _probe(self) -> str:
        x = self._advance(self._probe_pixels(), self.at)
        return hashlib.sha256(x.cpu().contiguous().view(torch.uint8).numpy().data).hexdigest()[:16]

    def _probe_pixels(self) -> Tensor:
        size = self.model.preprocess.size_px
        generator = torch.Generator().manual_seed(0)
        return torch.randn(1, 3, size, size, generator=generator)


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of what decides about activations."""
    return {name: version(name) for name in ("torch", "torchvision", "pillow")}


def blocks_below(model: DualEncoder, cut: int) -> bool:
    """Whether a transformer block lies below the cut: only then activations are worth a file."""
    return any(stage.name.startswith("block.") for stage in model.image.stages()[:cut])


def identity(example: Example) -> list[Any]:
    """Return what tells an image from all others: key, path, size and time of change, or contents.

    Of an image that cannot be read only the key is told: what decodes it says why.
    """
    source = example.source
    with contextlib.suppress(Exception):
        if isinstance(source, Path):
            info = source.stat()
            return [example.key, str(source.absolute()), info.st_size, info.st_mtime_ns]
        return [example.key, content_digest(source.read())]
    return [example.key]
