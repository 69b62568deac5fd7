"""The packed file: pictures, phrases and their words in one LZMA zip of .npy and JSON members."""

import io
import json
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretraining.picto.drawing import SIZE_PX, unpack_nibbles

ARRAYS = ("mono", "colour", "palette", "phrase_of", "set_of")


@dataclass
class Pack:
    """Pictures and what they show; rows are the mono pictures first, then those in colour.

    `mono` (M, P*P/2) and `colour` (K, P*P/2) hold 4-bit levels, `palette` (K, 16, 3) colours,
    `phrase_of` and `set_of` (M + K) indices into `phrases` and `sets`. A phrase is a dictionary
    with `text`, `words` (word to weight) and, where there are any, `tags` and `related`.
    """

    mono: NDArray[np.uint8]
    colour: NDArray[np.uint8]
    palette: NDArray[np.uint8]
    phrase_of: NDArray[np.int32]
    set_of: NDArray[np.int16]
    phrases: list[dict[str, Any]]
    sets: list[str]
    facts: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.phrase_of)

    def masks(self) -> NDArray[np.uint8]:
        """Mono pictures (M, P, P), levels 0 to 15."""
        return unpack_nibbles(self.mono).reshape(-1, SIZE_PX, SIZE_PX)

    def indexed(self) -> NDArray[np.uint8]:
        """Colour pictures (K, P, P) as palette indices, 0 transparent."""
        return unpack_nibbles(self.colour).reshape(-1, SIZE_PX, SIZE_PX)


def write_pack(pack: Pack, path: Path) -> None:
    """Writes atomically; about 200 bytes a picture."""
    partial = path.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_LZMA) as archive:
        for name in ARRAYS:
            buffer = io.BytesIO()
            np.save(buffer, getattr(pack, name), allow_pickle=False)
            archive.writestr(f"{name}.npy", buffer.getvalue())
        meta = {"phrases": pack.phrases, "sets": pack.sets, "facts": pack.facts}
        archive.writestr("meta.json", json.dumps(meta, ensure_ascii=False))
    os.replace(partial, path)


def read_pack(path: Path) -> Pack:
    """Reads a file of `write_pack`; nothing in it is unpickled."""
    with zipfile.ZipFile(path) as archive:
        arrays = {
            name: np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
            for name in ARRAYS
        }
        meta = json.loads(archive.read("meta.json"))
    return Pack(**arrays, **meta)
