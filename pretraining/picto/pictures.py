"""The pictures of a pack, unpacked on one device, and views of them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from pretraining.picto.augment import blur, move, paint_colour, paint_mono
from pretraining.picto.pack import Pack

INK_LEVEL = 5  # of 15: from here on a pixel counts as drawn


def fill_holes(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Drawings (N, P, P) with everything that they enclose.

    All drawings are padded and stacked into one tall picture, whose outside is one component.
    """
    count, px = masks.shape[:2]
    tall = np.pad(masks, ((0, 0), (1, 1), (1, 1))).reshape(count * (px + 2), px + 2)
    components, _ = ndimage.label(~tall)
    filled = (components != components[0, 0]).reshape(count, px + 2, px + 2)
    return np.asarray(filled[:, 1:-1, 1:-1])


@dataclass
class Pictures:
    """Tensors of bytes; rows are the mono pictures first, then those in colour, as in a pack."""

    masks: torch.Tensor  # (M, P, P), levels 0 to 15
    filled: torch.Tensor  # (M, P, P), 1 where a drawing is or encloses
    indexed: torch.Tensor  # (K, P, P), palette indices
    palette: torch.Tensor  # (K, 16, 3)
    plain_share: float = 0.5

    @classmethod
    def of(cls, pack: Pack, plain_share: float = 0.5, device: str = "cpu") -> "Pictures":
        """Unpacks all pictures into memory: 5 KiB each."""
        masks = pack.masks()
        chunks = np.array_split(masks, max(1, len(masks) // 1000))
        filled = np.concatenate([fill_holes(chunk >= INK_LEVEL) for chunk in chunks])
        return cls(
            torch.from_numpy(masks).to(device),
            torch.from_numpy(filled.astype(np.uint8)).to(device),
            torch.from_numpy(pack.indexed()).to(device),
            torch.from_numpy(pack.palette).to(device),
            plain_share,
        )

    def plain(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Pictures (B, 3, P, P) in 0 to 1, as they are on white paper."""
        return self._paint(rows, None)

    def views(
        self, rows: NDArray[np.int64], generator: torch.Generator, size_px: int
    ) -> torch.Tensor:
        """Augmented pictures (B, 3, S, S) in 0 to 1; the generator is of the same device."""
        return blur(move(self._paint(rows, generator), generator, size_px), generator)

    def _paint(self, rows: NDArray[np.int64], generator: torch.Generator | None) -> torch.Tensor:
        device, px = self.masks.device, self.masks.shape[-1]
        pictures = torch.empty(len(rows), 3, px, px, device=device)
        mono = np.flatnonzero(rows < len(self.masks))
        colour = np.flatnonzero(rows >= len(self.masks))
        if len(mono):
            at = torch.from_numpy(rows[mono]).to(device)
            ink = self.masks[at].float().div_(15).unsqueeze(1)
            if generator is None:
                painted = (1 - ink).expand(-1, 3, -1, -1)
            else:
                inside = self.filled[at].float().unsqueeze(1)
                painted = paint_mono(ink, inside, self.plain_share, generator)
            pictures[torch.from_numpy(mono).to(device)] = painted
        if len(colour):
            at = torch.from_numpy(rows[colour] - len(self.masks)).to(device)
            palette = self.palette[at].float() / 255
            painted = paint_colour(self.indexed[at].long(), palette, self.plain_share, generator)
            pictures[torch.from_numpy(colour).to(device)] = painted
        return pictures
