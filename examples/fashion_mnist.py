"""Turn Debian's package dataset-fashion-mnist into folders of PNG files.

    sudo apt install dataset-fashion-mnist
    python examples/fashion_mnist.py fashion-mnist
    fewtune fit clip-lora --data fashion-mnist --shots 16

Writes DIR/{train,test}/CLASS/INDEX.png: 60,000 and 10,000 grey images of 28 x 28 pixels, pixel for
pixel those of the package. INDEX is the position in the official file. Takes about half a minute.
An interrupted run leaves DIR.partial, which the next run replaces. A finished DIR is not changed.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import struct
import sys
import zlib
from pathlib import Path

from PIL import Image

from fewtune.datasets.samples import FASHION

SOURCE = Path("/usr/share/datasets/fashion-mnist")
FILES = {"train": "train", "test": "t10k"}


def read_idx(path: Path, dimensions: int) -> tuple[tuple[int, ...], bytes]:
    """Return shape and bytes of a gzipped idx file of unsigned bytes.

    The header is big-endian: two zero bytes, the type (8: unsigned byte), the number of dimensions,
    and the length of each.
    """
    try:
        data = gzip.decompress(path.read_bytes())
        magic, *shape = struct.unpack_from(f">{1 + dimensions}I", data)
    except FileNotFoundError:
        sys.exit(
            f"{path} does not exist. Install it: sudo apt install dataset-fashion-mnist\n"
            "or give the folder of the four .gz files: --source FOLDER"
        )
    except (OSError, EOFError, zlib.error, struct.error) as error:
        sys.exit(f"{path} is damaged: {error}. Install the package again.")
    values = data[4 * (1 + dimensions) :]
    count = 1
    for length in shape:
        count *= length
    if magic != 0x800 + dimensions or len(values) != count:
        sys.exit(f"{path} is not an idx file of {dimensions} dimensions.")
    return tuple(shape), values


def write_split(folder: Path, images: Path, labels: Path) -> int:
    """Write one PNG per image into the folder of its class and return the number of images."""
    (count, height, width), pixels = read_idx(images, 3)
    (label_count,), values = read_idx(labels, 1)
    if count != label_count or max(values) >= len(FASHION.classes):
        sys.exit(f"{labels} does not belong to {images}.")
    for name in FASHION.classes:
        (folder / name).mkdir(parents=True)
    size = height * width
    for index, label in enumerate(values):
        image = Image.frombytes("L", (width, height), pixels[index * size : (index + 1) * size])
        image.save(folder / FASHION.classes[label] / f"{index:05d}.png")
    return count


def main() -> None:
    """Read the arguments and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder to write")
    parser.add_argument("--source", type=Path, default=SOURCE, help="folder of the .gz files")
    arguments = parser.parse_args()
    target: Path = arguments.folder
    if target.exists():
        sys.exit(f"{target} exists already; remove it to write it again.")
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for split, prefix in FILES.items():
        count = write_split(
            partial / split,
            arguments.source / f"{prefix}-images-idx3-ubyte.gz",
            arguments.source / f"{prefix}-labels-idx1-ubyte.gz",
        )
        print(f"{split}: {count:,} images")
    partial.rename(target)
    print(f"Wrote {target}. Try: fewtune fit clip-lora --data {target} --shots 16")


if __name__ == "__main__":
    main()
