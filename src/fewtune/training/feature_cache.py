"""Feature cache: images as they enter the image tower, computed once where nothing is trained.

Cached are the activations at the cut, or pixels where no block lies below it; in memory within a
budget, and on disk for other runs where the strategy has left everything below the cut as it was.
What does not fit is streamed from the images.
"""

import functools
import hashlib
import itertools
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fewtune.core.files import digest
from fewtune.core.spec import Precision
from fewtune.data.decode import refuse_test_image
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.towers import Activations
from fewtune.training.cache_key import cache_key, image_identity
from fewtune.training.device import autocast, rows_of, send
from fewtune.training.disk_cache import DiskCache
from fewtune.training.image_loader import ImageLoader, chunks

ENCODING_BATCH = 64


class FeatureCache:
    """Batches of images as they enter the image tower, at the stage up to which they are cached.

    Args:
        images: N images; batches index into them.
        cut: Leading stages that nothing trainable influences.
        views: Views of each image that come again and again; 0: a new view every epoch.
        once: Whether all images are read once, so that only other runs make them worth caching.
        budget_bytes: Memory for the cache: activations first, decoded images in the rest.
        disk_cache: Where activations are shared with other runs; None keeps them in memory only.
        encoding_batch: Images that are sent through frozen stages at a time.

    Attributes:
        at: The stage that cached images enter: the cut, or 0 where pixels are cached.
        kept: How many views of all images fit into the budget; the others are streamed.
    """

    def __init__(
        self,
        model: DualEncoder,
        images: ImageLoader,
        cut: int = 0,
        precision: Precision = "fp32",
        *,
        views: int = 1,
        once: bool = False,
        budget_bytes: float = 0,
        disk_cache: DiskCache | None = None,
        encoding_batch: int = ENCODING_BATCH,
    ) -> None:
        self.encoding_batch = encoding_batch
        self.cut = cut
        self.model = model
        self.images = images
        self.precision: Precision = precision
        self.views = views if images.augmented else 1
        self.disk_cache = disk_cache if _blocks_below(model, cut) else None
        if once and self.disk_cache is None:
            budget_bytes = 0
        self.at, self.kept, view_bytes = self._choose(cut, budget_bytes)
        if self.views != 1:  # images are read again
            images.keep_bytes = budget_bytes - self.kept * view_bytes
        self._kept: dict[int, Tensor] = {}
        self._view_s = 0.0

    @property
    def finished(self) -> bool:
        """Whether the embeddings of all views are cached, so that a batch costs no computing."""
        return 0 < self.views == self.kept and self.at == len(self.model.image.stages())

    def coming_s(self, epochs: int) -> float:
        """Return the seconds that views take which these many first epochs are going to encode."""
        return max(0, min(self.kept, epochs) - len(self._kept)) * self._view_s

    def batch(self, indices: Sequence[int], epoch: int = 0) -> Activations:
        """Return the batch (B, ...) that an epoch sees of these images, on the model's device."""
        slot = self._slot(epoch)
        if slot >= self.kept:
            return self._streamed(self.images.batch(indices, self._view(slot)))
        x = rows_of(self._whole(slot), indices)
        if self.at == 0:
            return self._streamed(self.images.normalise(x))
        return Activations(self.model.image, send(x, self.model.device), self.at)

    def _streamed(self, pixels: Tensor) -> Activations:
        """Send pixels (B, 3, S, S) to the cut without gradient, so that bf16 rounds as cached."""
        parts = [self._advance(part, self.cut) for part in torch.split(pixels, self.encoding_batch)]
        return Activations(self.model.image, torch.cat(parts), self.cut)

    def prefetch(self, indices: Sequence[int], epoch: int = 0) -> None:
        """Begin to read the images of a coming batch; a CPU's cores are needed for computing."""
        slot = self._slot(epoch)
        if slot >= self.kept and self.model.device.type != "cpu":
            self.images.prefetch(indices, self._view(slot))

    def batches(self, epoch: int = 0) -> Iterator[Activations]:
        """Yield all images in order, as an epoch sees them, `encoding_batch` at a time."""
        for part, coming in self._parts():
            batch = self.batch(part, epoch)
            self.prefetch(coming, epoch)
            yield batch

    def _parts(self) -> Iterator[tuple[range, range]]:
        """Yield the images that are encoded at a time, and those that come after them."""
        parts = chunks(len(self.images.examples), self.encoding_batch)
        return itertools.pairwise([*parts, range(0)])

    def _slot(self, epoch: int) -> int:
        """Return the number of the view that an epoch sees."""
        return epoch % self.views if self.views else epoch

    def _view(self, slot: int) -> int | None:
        return slot if self.images.augmented else None

    def _choose(self, cut: int, budget_bytes: float) -> tuple[int, int, int]:
        """Return the stage at which views are cached, how many fit, and the bytes of one."""
        if not self.views or budget_bytes <= 0:
            return cut, 0, 0
        count = max(1, len(self.images.examples))
        raw_bytes = count * 3 * self.model.preprocess.size_px**2
        if not cut:
            return 0, min(self.views, int(budget_bytes // raw_bytes)), raw_bytes
        view_bytes = count * self._advance(self._probe_pixels(), cut).nbytes
        fit = int(budget_bytes // view_bytes)
        if fit < self.views and raw_bytes < view_bytes and not _blocks_below(self.model, cut):
            return 0, min(self.views, int(budget_bytes // raw_bytes)), raw_bytes
        return cut, min(self.views, fit), view_bytes

    @torch.inference_mode(False)
    def _whole(self, slot: int) -> Tensor:
        """Return one view of all images from the cache: activations or uint8 pixels (N, ...)."""
        if slot not in self._kept:
            started = time.perf_counter()
            self._kept[slot] = self._placed(self._fetch(self._view(slot)))
            self._view_s = time.perf_counter() - started
            if len(self._kept) == self.views:
                self.images.forget()
        return self._kept[slot]

    def _fetch(self, view: int | None) -> Tensor:
        if self.disk_cache is None or self._untouched is None:
            return self._compute(view)
        for example in self.images.examples:
            refuse_test_image(example.source)
        key = cache_key(
            self.model,
            self.images,
            view,
            self.at,
            data=self._data,
            batch=self.encoding_batch,
            precision=self.precision,
            probe=self._untouched,
        )
        return self.disk_cache.get(key, lambda: self._compute(view))

    def _compute(self, view: int | None) -> Tensor:
        computed = []
        for part, coming in self._parts():
            raw = self.images.raw(part, view)
            if self.model.device.type != "cpu":
                self.images.prefetch(coming, view)
            if self.at:
                computed.append(self._advance(self.images.normalise(raw), self.at).cpu())
            else:
                computed.append(raw)
        return torch.cat(computed)

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

    @functools.cached_property
    def _data(self) -> str:
        return digest([image_identity(example) for example in self.images.examples])

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


def _blocks_below(model: DualEncoder, cut: int) -> bool:
    """Whether a transformer block lies below the cut: only then are activations worth a file."""
    return any(stage.name.startswith("block.") for stage in model.image.stages()[:cut])
