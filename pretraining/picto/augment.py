"""Views of pictograms: painted, shaded, moved and blurred, as a function of a generator.

A share is dark on white, the rest half inverted and half in random colours. Many painted ones
have their closed outlines filled and shaded, so that an object's inside means the same whether a
drawing leaves it open or not. Everything runs on the device of the generator.
"""

import torch
from torch.nn import functional

from pretraining.picto.network import PIXEL_MEAN, PIXEL_STD

PLAIN, INVERTED, COLOURED = 0, 1, 2
SHADED_SHARE = 0.6
BLURRED_SHARE = 0.3


def _rand(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=generator, device=generator.device)


def _uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> torch.Tensor:
    return _rand(generator, *shape) * (high - low) + low


def _modes(count: int, plain_share: float, generator: torch.Generator) -> torch.Tensor:
    draws = _rand(generator, count, 1, 1, 1)
    painted = torch.where(draws < (1 + plain_share) / 2, INVERTED, COLOURED)
    return torch.where(draws < plain_share, PLAIN, painted)


def _shades(count: int, px: int, generator: torch.Generator) -> torch.Tensor:
    """Smooth brightness factors (B, 1, P, P) around 1, with a little fine grain."""
    coarse = functional.interpolate(
        _uniform(generator, -0.3, 0.3, count, 1, 4, 4), size=(px, px), mode="bicubic"
    )
    grain = torch.randn(count, 1, px, px, generator=generator, device=generator.device)
    return 1 + coarse + grain * _uniform(generator, 0, 0.1, count, 1, 1, 1)


def paint_mono(
    ink: torch.Tensor,
    inside: torch.Tensor,
    plain_share: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """Colours masks (B, 1, P, P): paper, ink, and what the ink encloses where it is shaded."""
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
    paper = grey_paper * (1 - tint) + tint * _rand(generator, count, 3, 1, 1)
    pen = grey_ink * (1 - tint) + tint * _rand(generator, count, 3, 1, 1)
    # Random colours keep a readable contrast.
    close = (paper - pen).abs().amax(dim=1, keepdim=True) < 0.35
    pen = torch.where(close, (pen + 0.5) % 1, pen)
    shaded = (mode != PLAIN) & (_rand(generator, count, 1, 1, 1) < SHADED_SHARE)
    shades = _shades(count, px, generator)
    fill_grey = _uniform(generator, 0.3, 0.9, count, 1, 1, 1)
    fill = fill_grey + tint * _uniform(generator, -0.3, 0.3, count, 3, 1, 1)
    strength = torch.where(shaded, _uniform(generator, 0.1, 1, count, 1, 1, 1), 1.0)
    picture = paper.expand(-1, -1, px, px)
    picture = torch.lerp(picture, (fill * shades).expand(-1, 3, -1, -1), inside * shaded)
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
        ground = _rand(generator, count, 3)
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
    more = (_rand(generator, count) < 0.5).float()
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
    coarse_px = px // 3 + int(_rand(generator, 1) * (px * 3 // 4 - px // 3))
    small = functional.interpolate(pictures[:count], size=(coarse_px, coarse_px), mode="area")
    blurred = functional.interpolate(small, size=(px, px), mode="bicubic").clamp_(0, 1)
    return torch.cat([blurred, pictures[count:]])


def normalise(pictures: torch.Tensor) -> torch.Tensor:
    """Pictures in 0 to 1 as the network wants them."""
    return (pictures - PIXEL_MEAN) / PIXEL_STD
