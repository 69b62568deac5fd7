"""The pictures of one set, their hashes and phrases, kept on disk so that rendering resumes."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretraining.picto import hashing
from pretraining.picto.drawing import SIZE_PX, darkness, encode_colour, encode_mono, is_blank

HALF = SIZE_PX * SIZE_PX // 2
KINDS = ("mono", "colour")


@dataclass
class Drawings:
    """Encoded pictures of one set; `inks` (256 bits each) and `texts` by kind."""

    prefix: str
    mono: list[NDArray[np.uint8]] = field(default_factory=list)
    colour: list[NDArray[np.uint8]] = field(default_factory=list)
    palette: list[NDArray[np.uint8]] = field(default_factory=list)
    inks: dict[str, list[NDArray[np.bool_]]] = field(default_factory=lambda: {k: [] for k in KINDS})
    texts: dict[str, list[str]] = field(default_factory=lambda: {k: [] for k in KINDS})

    def __len__(self) -> int:
        return len(self.mono) + len(self.colour)

    def add(self, pixels: NDArray[np.uint8], text: str, colour: bool) -> None:
        """Stores one picture (P, P, 4) unless it is blank."""
        if is_blank(pixels[..., 3]):
            return
        if colour:
            levels, palette = encode_colour(pixels)
            self.colour.append(levels)
            self.palette.append(palette)
        else:
            self.mono.append(encode_mono(pixels[..., 3]))
        kind, ink = ("colour", darkness(pixels)) if colour else ("mono", pixels[..., 3])
        self.inks[kind].append(hashing.average_hash(ink[None])[0])
        self.texts[kind].append(text)

    def drop_near(self, references: NDArray[np.bool_]) -> int:
        """Removes pictures within 4 bits of a reference hash; returns how many."""
        dropped = 0
        for kind in KINDS:
            if not self.inks[kind]:
                continue
            keep = ~hashing.near_any(np.stack(self.inks[kind]), references)
            dropped += int((~keep).sum())
            stores: list[list[Any]] = [self.inks[kind], self.texts[kind]]
            stores += [self.mono] if kind == "mono" else [self.colour, self.palette]
            for store in stores:
                store[:] = [value for value, kept in zip(store, keep, strict=True) if kept]
        return dropped

    def save(self, path: Path) -> None:
        """Writes atomically, without pickles."""
        arrays = {
            "mono": np.array(self.mono, np.uint8).reshape(-1, HALF),
            "colour": np.array(self.colour, np.uint8).reshape(-1, HALF),
            "palette": np.array(self.palette, np.uint8).reshape(-1, 16, 3),
            "texts": np.frombuffer(json.dumps(self.texts).encode(), np.uint8),
        }
        for kind in KINDS:
            arrays[f"ink_{kind}"] = np.array(self.inks[kind], bool).reshape(-1, 256)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, allow_pickle=False, **arrays)
        os.replace(partial, path)

    @classmethod
    def load(cls, prefix: str, path: Path) -> "Drawings":
        """Reads a file of `save`."""
        with np.load(path, allow_pickle=False) as arrays:
            inks = {kind: list(arrays[f"ink_{kind}"]) for kind in KINDS}
            return cls(
                prefix,
                list(arrays["mono"]),
                list(arrays["colour"]),
                list(arrays["palette"]),
                inks,
                json.loads(arrays["texts"].tobytes()),
            )
