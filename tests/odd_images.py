"""Odd and malformed image files: thousands of them, from pictures in every format and mode.

    PYTHONPATH=tests:src python tests/odd_images.py

Prints how many were read, how many refused, and the time, memory and output that none may take.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import resource
import struct
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fewtune.core.errors import DataError
from fewtune.data.decode import open_image
from fewtune.data.image_facts import ImageFacts, inspect_image
from fixtures import picture

MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB",
         "HSV", "I", "I;16", "I;16B", "F")  # fmt: skip
SUFFIXES = {"JPEG": ".jpg", "JPEG2000": ".jp2", "TIFF": ".tif"}
NEVER_READ = {"PDF", "PALM", "HDF5", "GRIB", "BUFR", "WMF"}
OPTIONS: dict[str, list[dict[str, object]]] = {
    "JPEG": [{"progressive": True}, {"quality": 1, "subsampling": 2}, {"restart_marker_rows": 1}],
    "PNG": [{"interlace": 1}, {"bits": 4}, {"dpi": (0, 0)}],
    "TIFF": [{"compression": kind} for kind in
             ("tiff_lzw", "tiff_deflate", "packbits", "jpeg", "group4", "lzma", "zstd", "webp")],
    "WEBP": [{"lossless": True}, {"quality": 0}],
    "JPEG2000": [{"irreversible": True, "tile_size": (8, 8)}],
    "BMP": [{"bitmap_format": "rle"}],
    "TGA": [{"compression": "tga_rle"}],
    "DDS": [{"pixel_format": kind} for kind in ("DXT1", "DXT5", "BC5")],
    "ICO": [{"bitmap_format": "bmp"}],
}  # fmt: skip
SPOILT = ("cut", "cut at a marker", "bytes changed", "bits turned", "zeroed", "swapped", "extended")


@dataclass(frozen=True)
class Odd:
    """A file: how it came about, its name's ending, its bytes."""

    kind: str
    suffix: str
    data: bytes


def sound(every: int) -> Iterator[Odd]:
    """Yield pictures in every mode that a format writes, with its options; a share of them."""
    Image.init()
    kinds = [
        (name, mode, options)
        for name in sorted(set(Image.SAVE) - NEVER_READ)
        for mode in MODES
        for options in ({}, *OPTIONS.get(name, ()))
    ]
    for name, mode, options in kinds[::every]:
        if data := _saved(mode, name, options):
            yield Odd(f"{name} {mode}", SUFFIXES.get(name, f".{name.lower()}"), data)
    frames = [picture(seed, (20, 14)) for seed in range(3)]
    for name in ("GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO"):
        with contextlib.suppress(Exception):
            data = io.BytesIO()
            frames[0].save(data, name, save_all=True, append_images=frames[1:], duration=9)
            yield Odd(f"{name} of three frames", SUFFIXES.get(name, f".{name.lower()}"),
                      data.getvalue())  # fmt: skip
    for orientation in (0, 3, 6, 9, 65535):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = io.BytesIO()
        frames[0].save(data, "JPEG", exif=exif, icc_profile=b"no profile")
        yield Odd("JPEG with EXIF", ".jpg", data.getvalue())
    palette = picture(7, mode="L").convert("P")
    for transparency in (0, bytes(range(256)), b"\x80"):
        data = io.BytesIO()
        palette.save(data, "PNG", transparency=transparency)
        yield Odd("PNG with a transparent palette", ".png", data.getvalue())


def _saved(mode: str, name: str, options: dict[str, object]) -> bytes:
    data = io.BytesIO()
    try:
        image = Image.new(mode, (23, 17)) if mode == "F" else picture(mode, (23, 17), mode)
        image.save(data, name, **options)
    except Exception:  # not every format takes every mode
        return b""
    return data.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int = 1, colour: int = 0, *, whole: bool = False) -> bytes:
    """A PNG of zeros; without `whole`, its pixels are missing."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    rows = b""
    if whole:
        packer = zlib.compressobj(9)
        row = bytes(1 + (width * depth * {0: 1, 2: 3, 6: 4}[colour] + 7) // 8)
        rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", rows), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def strange() -> Iterator[Odd]:
    """Yield what no picture program writes."""
    yield from (Odd("nothing", ".png", b""), Odd("one byte", ".jpg", b"\xff"))
    for size in (16, 1000):
        yield Odd("zeros", ".png", bytes(size))
        yield Odd("noise", ".jpg", random.Random(size).randbytes(size))
    starts = {
        "BMP": b"BM",
        "GIF": b"GIF89a",
        "JPEG": b"\xff\xd8\xff\xe0",
        "PNG": b"\x89PNG\r\n\x1a\n",
        "TIFF": b"II*\0\x08\0\0\0",
        "BigTIFF": b"II+\0\x08\0\0\0",
        "WEBP": b"RIFF\xff\xff\xff\x7fWEBPVP8 ",
        "AVIF": b"\0\0\0\x20ftypavif",
        "HEIC": b"\0\0\0\x18ftypheic",
        "JP2": b"\0\0\0\x0cjP  \r\n\x87\n",
        "PSD": b"8BPS\0\x01",
        "ICNS": b"icns\xff\xff\xff\xff",
        "ICO": b"\0\0\x01\0\xff\xff",
        "CUR": b"\0\0\x02\0\x01\0",
        "DDS": b"DDS |\0\0\0",
        "QOI": b"qoif\xff\xff\xff\xff\xff\xff\xff\xff\3\0",
        "FITS": b"SIMPLE  =                    T",
        "SUN": b"\x59\xa6\x6a\x95",
        "DCX": b"\xb1\x68\xde\x3a",
        "FLI": b"\0\0\0\0\x11\xaf\1\0",
        "XPM": b"/* XPM */\n",
        "PCD": b"PCD_",
        "GRIB": b"GRIB\0\0\0\1",
        "HDF5": b"\x89HDF\r\n\x1a\n",
        "BUFR": b"BUFR",
        "MPEG": b"\0\0\1\xb3\x40\x04\0",
        "GBR": b"\0\0\0\x1c\0\0\0\1",
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "HTML": b"<!doctype html>",
        "PDF": b"%PDF-1.7",
        "ZIP": b"PK\3\4",
        "LFS": b"version https://git-lfs.github.com/spec/v1",
        "BLP": b"BLP2",
        "IMT": b"\n\n\n\nwidth 9\n",
        "PIXAR": b"\x80\xe8\0\0",
        "XVTHUMB": b"P7 332\n#END\n9 9 255\n",
        "PPM": b"P6 99999999 99999999 255\n",
        "PFM": b"Pf\n9 9\n-1.0\n",
        "SGI": b"\x01\xda\0\1\0\3",
    }
    for name, start in starts.items():
        yield Odd(f"start of {name}", ".png", start)
        yield Odd(f"start of {name}, then zeros", ".jpg", start + bytes(600))
        yield Odd(
            f"start of {name}, then noise", ".tif", start + random.Random(name).randbytes(600)
        )
    for size in ((2**31 - 1, 1), (100_000, 100_000), (60_000, 60_000), (0, 9), (9, 0)):
        yield Odd("PNG bomb", ".png", png(*size))
        yield Odd(
            "BMP bomb",
            ".bmp",
            b"BM" + struct.pack("<IIIIiiHHIIiiII", 99, 0, 54, 40, *size, 1, 24, *[0] * 6),
        )
        yield Odd(
            "GIF bomb",
            ".gif",
            b"GIF89a" + struct.pack("<HH", *(s % 65536 for s in size)) + b"\0\0\0,",
        )
    end, text = _chunk(b"IEND", b""), b"a\0\0" + zlib.compress(bytes(1 << 26))
    bomb = png(9, 9, whole=True).replace(end, _chunk(b"zTXt", text) + end)
    yield Odd("text bomb", ".png", bomb)
    for wide, high in ((4_000_000, 1), (1, 4_000_000), (60_000, 200)):
        yield Odd(f"{wide:,} x {high:,} pixels", ".png", png(wide, high, whole=True))


def huge() -> Iterator[Odd]:
    """Yield whole pictures of a hundred megapixels and more."""
    yield Odd("100 megapixels, grey", ".png", png(10_000, 10_000, 8, whole=True))
    yield Odd("100 megapixels, 16 bits", ".png", png(10_000, 10_000, 16, whole=True))
    yield Odd("100 megapixels, RGBA", ".png", png(10_000, 10_000, 8, 6, whole=True))
    yield Odd("180 megapixels", ".png", png(18_000, 10_000, whole=True))


def spoilt(odd: Odd, draws: random.Random) -> Iterator[Odd]:
    """Yield a sound file in ways that disks, networks and programs spoil one."""
    data = odd.data
    marks = [m.start() for m in re.finditer(rb"\xff[\xc0-\xfe]|[A-Za-z]{4}", data)]
    ends = {draws.randrange(len(data)), len(data) // 2, len(data) - 1, 8, 30}
    for end in sorted(end for end in ends if end < len(data)):
        yield Odd("cut", odd.suffix, data[:end])
    for end in draws.sample(marks, min(4, len(marks))):
        yield Odd("cut at a marker", odd.suffix, data[: end + draws.randrange(5)])
    for many in (1, 5):
        changed = bytearray(data)
        for _ in range(many):
            changed[draws.randrange(min(len(data), 400))] = draws.randrange(256)
        yield Odd("bytes changed", odd.suffix, bytes(changed))
        changed = bytearray(data)
        for _ in range(many):
            changed[draws.randrange(len(data))] ^= 1 << draws.randrange(8)
        yield Odd("bits turned", odd.suffix, bytes(changed))
    at = draws.randrange(len(data))
    yield Odd("zeroed", odd.suffix, data[:at] + bytes(len(data[at : at + 40])) + data[at + 40 :])
    pairs = bytes(byte for pair in zip(data[1::2], data[::2], strict=False) for byte in pair)
    yield Odd("swapped", odd.suffix, pairs)
    yield Odd("extended", draws.choice([".jpg", ".png", ".gif"]), data + draws.randbytes(50))


def odd_files(seed: int = 0, every: int = 1) -> Iterator[Odd]:
    """Yield all files, or each `every`-th of the sound ones and what becomes of it."""
    draws = random.Random(seed)
    for one in sound(every):
        yield one
        yield from spoilt(one, draws)
    yield from strange()


@dataclass
class Verdict:
    """What became of the files.

    Attributes:
        outcomes: "read", or why not, counted by kind of file.
        faults: What must not happen.
    """

    outcomes: Counter[tuple[str, str]]
    faults: list[str]
    slowest_s: float = 0.0
    peak_mib: float = 0.0


def judge(files: Iterator[Odd], folder: Path) -> Verdict:
    """Open each file as FewTune does."""
    verdict = Verdict(Counter(), [])
    for number, odd in enumerate(files):
        path = folder / f"{number}{odd.suffix}"
        path.write_bytes(odd.data)
        began = time.perf_counter()
        with printed(folder) as output, warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                image = open_image(path)
                outcome = "read"
                if image.mode != "RGB" or min(image.size) < 1:
                    verdict.faults.append(f"{odd.kind}: {image.mode} of {image.size}")
                image.close()
            except DataError as error:
                outcome = str(error.what).partition(": ")[2][:60]
            except BaseException as error:
                outcome = f"{type(error).__name__}: {error}"
                verdict.faults.append(f"{odd.kind}: {outcome}")
            try:
                facts = inspect_image(path)
            except Exception as error:
                facts = ImageFacts(error=f"crashed: {error!r}")
                verdict.faults.append(f"{odd.kind}: the data report {facts.error}")
        if (facts.error is None) != (outcome == "read"):
            verdict.faults.append(f"{odd.kind}: {outcome}, but the data report says {facts.error}")
        shown = [str(one.message) for one in said] + [output.read_text(errors="replace")]
        if any(shown):
            verdict.faults.append(f"{odd.kind}: on the terminal: {shown[:3]}"[:300])
        verdict.outcomes[odd.kind, outcome] += 1
        verdict.slowest_s = max(verdict.slowest_s, time.perf_counter() - began)
        path.unlink()
    verdict.peak_mib = _peak_mib()
    return verdict


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextlib.contextmanager
def printed(folder: Path) -> Iterator[Path]:
    """Give the file that collects what libraries in C print within the block."""
    target = folder / "printed"
    with target.open("wb") as file:
        kept = os.dup(1), os.dup(2)
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield target
        finally:
            for place, old in enumerate(kept, start=1):
                os.dup2(old, place)
                os.close(old)


def main() -> None:
    """Print the verdict on all files, and on huge ones."""
    lines = ["| files | number | read | refused | slowest | peak memory | faults |",
             "| --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    faults = []
    for title, files in (("odd", odd_files()), ("of 100 megapixels and more", huge())):
        with tempfile.TemporaryDirectory() as folder:
            found = judge(files, Path(folder))
        total = found.outcomes.total()
        read = sum(count for (_, outcome), count in found.outcomes.items() if outcome == "read")
        lines.append(
            f"| {title} | {total:,} | {read:,} | {total - read:,} | {found.slowest_s:.1f} s | "
            f"{found.peak_mib:,.0f} MiB | {len(found.faults)} |"
        )
        faults += found.faults
    sys.stdout.write("\n".join([*lines, *dict.fromkeys(faults)]) + "\n")


if __name__ == "__main__":
    main()
