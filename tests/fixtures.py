"""Miniature images and datasets in every layout, for tests of any part."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image


def picture(seed: object, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Image.Image:
    """A picture with pixels that depend on the seed alone; different seeds look different."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    length = size[0] * size[1] * channels
    block = hashlib.sha256(repr(seed).encode()).digest()
    return Image.frombytes(mode, size, (block * (length // len(block) + 1))[:length])


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def write_image(path: Path, seed: object = 0, size: tuple[int, int] = (12, 10)) -> Path:
    """Write a picture in the format of the suffix, making folders as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, size).save(path)
    return path


def class_folders(
    root: Path, counts: Mapping[str, int], *, prefix: str = "", suffix: str = ".png"
) -> Path:
    """Write `root/[prefix/]CLASS/NN.png`, every picture different."""
    folder = root / prefix if prefix else root
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            write_image(folder / name / f"{index:02d}{suffix}", (prefix, name, index))
    return root


def split_folders(root: Path, **splits: Mapping[str, int]) -> Path:
    """Write `root/SPLIT/CLASS/NN.png`."""
    for split, counts in splits.items():
        class_folders(root, counts, prefix=split)
    return root


def flat_images(root: Path, names: Sequence[str]) -> Path:
    """Write pictures with these relative paths."""
    for name in names:
        write_image(root / name, name)
    return root


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write one JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def list_folder(
    root: Path, lists: Mapping[str, Sequence[tuple[str, int]]], *, end: str = "\n"
) -> Path:
    """Write `root/LIST.txt` with lines "PATH LABEL", and the pictures they name."""
    root.mkdir(parents=True, exist_ok=True)
    for name, rows in lists.items():
        flat_images(root, [path for path, _ in rows])
        text = "".join(f"{path} {label}{end}" for path, label in rows)
        (root / f"{name}.txt").write_bytes(text.encode())
    return root


def fashion_zip(path: Path, classes: Sequence[str], *, train: int = 2, test: int = 3) -> Path:
    """Write an archive with members `SPLIT/CLASS/INDEX.png`."""
    with zipfile.ZipFile(path, "w") as archive:
        for split, count in (("train", train), ("test", test)):
            for name in classes:
                for index in range(count):
                    seed = (split, name, index)
                    archive.writestr(
                        f"{split}/{name}/{index}.png", encoded(picture(seed, (28, 28), "L"))
                    )
    return path
