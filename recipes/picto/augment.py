"""Views of pictograms: painted, shaded, moved and blurred, as a function of a generator.

Half are dark on white; a quarter are inverted and a quarter in random colours. Half of the latter
two have their closed outlines filled and shaded, so that an object's inside means the same whether
a drawing leaves it open or not.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from recipes.picto.network import PIXEL_MEAN, PIXEL_STD
from recipes.picto.pack import Pack

PLAIN, INVERTED, COLOURED = 0, 1, 2
SHADED_SHARE = 0.6
BLURRED_SHARE = 0.3


@dataclass
class Pictures:
    """Unpacked pictures of a pack, and views of them."""

    masks: NDArray[np.uint8]  # (M, P, P), levels 0 to 15
    indexed: NDArray[np.uint8]  # (K, P, P), palette indices
    palette: NDArray[np.uint8]  # (K, 16, 3)
    plain_share: float = 0.5

    @classmethod
    def of(cls, pack: Pack, plain_share: float = 0.5) -> "Pictures":
        """Unpacks all pictures into memory: 2 KiB each."""
        return cls(pack.masks(), pack.indexed(), pack.palette, plain_share)

    def plain(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Pictures (B, 3, P, P) in 0 to 1, as they are on white paper."""
        return self._paint(rows, None)

    def views(
        self, rows: NDArray[np.int64], generator: torch.Generator, size_px: int
    ) -> torch.Tensor:
        """Augmented pictures (B, 3, S, S) in 0 to 1."""
        return blur(move(self._paint(rows, generator), generator, size_px), generator)

    def _paint(self, rows: NDArray[np.int64], generator: torch.Generator | None) -> torch.Tensor:
        px = self.masks.shape[-1]
        pictures = torch.empty(len(rows), 3, px, px)
        mono = rows < len(self.masks)
        masks = self.masks[rows[mono]]
        if mono.any():
            ink = torch.from_numpy(masks).float().div_(15).unsqueeze(1)
            is_mono = torch.from_numpy(mono)
            if generator is None:
                pictures[is_mono] = (1 - ink).expand(-1, 3, -1, -1)
            else:
                pictures[is_mono] = paint_mono(ink, masks, self.plain_share, generator)
        if not mono.all():
            at = rows[~mono] - len(self.masks)
            levels = torch.from_numpy(self.indexed[at]).long()
            palette = torch.from_numpy(self.palette[at]).float() / 255
            pictures[torch.from_numpy(~mono)] = paint_colour(
                levels, palette, self.plain_share, generator
            )
        return pictures


def _uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=generator) * (high - low) + low


def _modes(count: int, plain_share: float, generator: torch.Generator) -> torch.Tensor:
    draws = torch.rand(count, 1, 1, 1, generator=generator)
    painted = torch.where(draws < (1 + plain_share) / 2, INVERTED, COLOURED)
    return torch.where(draws < plain_share, PLAIN, painted)


def _shades(count: int, px: int, generator: torch.Generator) -> torch.Tensor:
    """Smooth brightness factors (B, 1, P, P) around 1, with a little fine grain."""
    coarse = functional.interpolate(
        _uniform(generator, -0.3, 0.3, count, 1, 4, 4), size=(px, px), mode="bicubic"
    )
    grain = torch.randn(count, 1, px, px, generator=generator)
    return 1 + coarse + grain * _uniform(generator, 0, 0.1, count, 1, 1, 1)


def fill_holes(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Drawings (N, P, P) with everything that they enclose, as (N, 1, P, P).

    All drawings are padded and stacked into one tall picture, whose outside is one component.
    """
    count, px = masks.shape[:2]
    tall = np.pad(masks, ((0, 0), (1, 1), (1, 1))).reshape(count * (px + 2), px + 2)
    components, _ = ndimage.label(~tall)
    filled = (components != components[0, 0]).reshape(count, 1, px + 2, px + 2)
    return np.asarray(filled[..., 1:-1, 1:-1])


def paint_mono(
    ink: torch.Tensor,
    masks: NDArray[np.uint8],
    plain_share: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Colours masks (B, 1, P, P): paper, filled inside and ink."""
    count, px = len(ink), ink.shape[-1]
    mode = _modes(count, plain_share, generator)
    tint = torch.where(mode == COLOURED, 1.0, 0.0)
    grey_paper = torch.where(
        mode == INVERTED,
        _uniform(generator, 0, 0.12, count, 1, 1, 1),
        _uniform(generator, 0.88, 1, count, 1, 1, 1),
    )
    grey_ink = torch.where(
        mode == INVERTED,
        _uniform(generator, 0.6, 1, count, 1, 1, 1),
        _uniform(generator, 0, 0.3, count, 1, 1, 1),
    )
    paper = grey_paper * (1 - tint) + tint * torch.rand(count, 3, 1, 1, generator=generator)
    pen = grey_ink * (1 - tint) + tint * torch.rand(count, 3, 1, 1, generator=generator)
    # Random colours keep a readable contrast.
    close = (paper - pen).abs().amax(dim=1, keepdim=True) < 0.35
    pen = torch.where(close, (pen + 0.5) % 1, pen)
    shaded = (mode != PLAIN) & (torch.rand(count, 1, 1, 1, generator=generator) < SHADED_SHARE)
    shades = _shades(count, px, generator)
    fill_grey = _uniform(generator, 0.3, 0.9, count, 1, 1, 1)
    fill = fill_grey + tint * _uniform(generator, -0.3, 0.3, count, 3, 1, 1)
    strength = torch.where(shaded, _uniform(generator, 0.1, 1, count, 1, 1, 1), 1.0)
    picture = paper.expand(-1, -1, px, px)
    chosen = shaded.flatten().nonzero().flatten()
    inside = torch.zeros(count, 1, px, px)
    if len(chosen):
        inside[chosen] = torch.from_numpy(fill_holes(masks[chosen.numpy()] > 5)).float()
    picture = torch.lerp(picture, (fill * shades).expand(-1, 3, -1, -1), inside)
    return torch.lerp(picture, pen.expand(-1, -1, px, px), ink * strength).clamp_(0, 1)


def paint_colour(
    levels: torch.Tensor,
    palette: torch.Tensor,
    plain_share: float,
    generator: torch.Generator | None,
) -> torch.Tensor:
    """Colours palette indices (B, P, P): on white, on a random ground, or in inverted grey."""
    count = len(levels)
    if generator is not None:
        mode = _modes(count, plain_share, generator).view(-1, 1)
        ground = torch.rand(count, 3, generator=generator)
        palette = palette.clone()
        palette[:, 0] = torch.where(mode == COLOURED, ground, palette[:, 0])
    picture = torch.gather(palette, 1, levels.flatten(1).unsqueeze(-1).expand(-1, -1, 3)).transpose(
        1, 2
    )
    picture = picture.reshape(count, 3, *levels.shape[1:])
    if generator is not None:
        grey = 1 - picture.mean(dim=1, keepdim=True)
        picture = torch.where(_expand(mode == INVERTED), grey, picture)
    return picture


def _expand(flags: torch.Tensor) -> torch.Tensor:
    return flags.view(-1, 1, 1, 1)


def move(pictures: torch.Tensor, generator: torch.Generator, size_px: int) -> torch.Tensor:
    """Small shifts and zooms for all; a tilt and another aspect for half."""
    count = len(pictures)
    scale = _uniform(generator, 0.78, 1.15, count)
    more = (torch.rand(count, generator=generator) < 0.5).float()
    angle = more * _uniform(generator, -0.18, 0.18, count)
    aspect = torch.exp(more * _uniform(generator, -0.18, 0.18, count))
    shift = _uniform(generator, -0.1, 0.1, count, 2)
    cos, sin = torch.cos(angle), torch.sin(angle)
    matrix = torch.stack(
        [
            torch.stack([scale * cos * aspect, -scale * sin, shift[:, 0]], dim=1),
            torch.stack([scale * sin, scale * cos / aspect, shift[:, 1]], dim=1),
        ],
        dim=1,
    )
    # Halving the size would alias: sample twice as fine, then average.
    fine = 2 if size_px * 2 <= pictures.shape[-1] else 1
    grid = functional.affine_grid(
        matrix, [count, 3, size_px * fine, size_px * fine], align_corners=False
    )
    moved = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    return functional.avg_pool2d(moved, fine) if fine > 1 else moved


def blur(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Some pictures pass through a coarser grid, as scans and small photographs do."""
    count, px = round(len(pictures) * BLURRED_SHARE), pictures.shape[-1]
    if count == 0:
        return pictures
    coarse_px = int(torch.randint(px // 3, px * 3 // 4, (1,), generator=generator))
    small = functional.interpolate(pictures[:count], size=(coarse_px, coarse_px), mode="area")
    blurred = functional.interpolate(small, size=(px, px), mode="bicubic").clamp_(0, 1)
    return torch.cat([blurred, pictures[count:]])


def normalise(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures in 0 to 1 as the network wants them."""
    return (pictures - PIXEL_MEAN) / PIXEL_STD
