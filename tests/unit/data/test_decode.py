"""Every kind of image file and value: the same RGB pixels as Pillow, or an error that says why."""

from __future__ import annotations

import os
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewtune.core.errors import DataError
from fewtune.data.decode import InMemory, open_image
from fewtune.data.image_facts import inspect_image
from fixtures import encoded, picture, write_image


def bomb(width: int, height: int) -> bytes:
    """A PNG that announces a huge size."""
    header = (
        b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    )
    check = zlib.crc32(header).to_bytes(4, "big")
    pixels = b"IDAT" + zlib.compress(b"\x00" * 100)
    return (
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"
        + header
        + check
        + (len(pixels) - 4).to_bytes(4, "big")
        + pixels
        + zlib.crc32(pixels).to_bytes(4, "big")
        + b"\x00\x00\x00\x00IEND\xaeB`\x82"
    )


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image)


def test_plain_files_equal_what_pillow_users_get(tmp_path: Path) -> None:
    for suffix in (".png", ".jpg", ".webp", ".bmp", ".gif", ".tif"):
        path = write_image(tmp_path / f"a{suffix}", suffix)
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(pixels(open_image(path)), expected)
        np.testing.assert_array_equal(pixels(open_image(str(path))), expected)
        np.testing.assert_array_equal(pixels(open_image(path.read_bytes())), expected)


def test_exif_orientation_turns_the_picture(tmp_path: Path) -> None:
    upright = picture(1, (6, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show rotated by 90 degrees clockwise
    path = tmp_path / "turned.png"
    upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    np.testing.assert_array_equal(pixels(open_image(path)), np.asarray(upright))
    facts = inspect_image(path)
    assert (facts.width, facts.height) == (6, 4)


def test_damaged_exif_is_passed_over() -> None:
    data = encoded(picture(1), "JPEG", exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff")
    assert open_image(data).size == (12, 10)


@pytest.mark.parametrize("mode", ["P", "L", "1", "LA", "RGBA", "CMYK", "YCbCr"])
def test_modes_convert_as_in_pillow(mode: str) -> None:
    image = picture(3).convert(mode)
    np.testing.assert_array_equal(pixels(open_image(image)), np.asarray(image.convert("RGB")))


def test_cmyk_jpeg() -> None:
    data = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    red, green, blue = pixels(open_image(data))[4, 4]
    assert red > 200
    assert green < 60
    assert blue < 60
    assert inspect_image(data).mode == "CMYK"


def test_transparency_is_dropped_and_noted() -> None:
    image = Image.new("RGBA", (8, 8), (10, 200, 30, 0))
    data = encoded(image)
    assert pixels(open_image(data))[0, 0].tolist() == [10, 200, 30]
    assert inspect_image(data).transparent


def test_palette_with_transparency_gives_no_warning() -> None:
    image = picture(1).convert("P")
    data = encoded(image, transparency=bytes(range(256)))
    assert open_image(data).mode == "RGB"
    assert inspect_image(data).transparent


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(file_format: str) -> None:
    values = np.array([[0, 257, 128 * 257, 40000, 65535]], dtype=np.uint16)
    data = encoded(Image.fromarray(values), file_format)
    assert pixels(open_image(data))[0, :, 0].tolist() == [0, 1, 128, 156, 255]
    assert inspect_image(data).bits == 16


def test_16_bit_netpbm() -> None:
    data = b"P5 2 1 65535\n" + np.array([0, 65535], dtype=">u2").tobytes()
    assert pixels(open_image(data))[0, :, 0].tolist() == [0, 255]


def test_16_bit_colour_is_recognised() -> None:
    rows = np.full((1, 3), 0x8000, dtype=">u2").tobytes()
    chunk = zlib.compress(b"\x00" + rows)
    header = b"IHDR" + (1).to_bytes(4, "big") * 2 + b"\x10\x02\x00\x00\x00"
    data = b"\x89PNG\r\n\x1a\n"
    for body in (header, b"IDAT" + chunk, b"IEND"):
        data += (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    facts = inspect_image(data)
    assert (facts.error, facts.bits) == (None, 16)


def test_float_and_32_bit_pixels_are_refused() -> None:
    floats = Image.fromarray(np.ones((2, 2), dtype=np.float32))
    with pytest.raises(DataError, match="floating-point"):
        open_image(floats)
    with pytest.raises(DataError, match="70000"):
        open_image(Image.fromarray(np.full((2, 2), 70000, dtype=np.int32)))


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP"])
def test_animation_gives_its_first_frame(file_format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    data = encoded(
        frames[0], file_format, save_all=True, append_images=frames[1:], duration=50, loop=0
    )
    red, green, blue = pixels(open_image(data))[4, 4]
    assert red > 240
    assert max(green, blue) < 15
    assert inspect_image(data).frames == 3


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_truncated_files(tmp_path: Path, file_format: str) -> None:
    data = encoded(picture(5, (64, 64)), file_format)
    path = tmp_path / "half.img"
    for length in (1, len(data) // 8, len(data) // 2):
        path.write_bytes(data[:length])
        with pytest.raises(DataError, match=r"half\.img"):
            open_image(path)
        assert inspect_image(path).error


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"hello, world", "not an image of a known format"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "HEIC"),
        (b"\xff\xd8\xff\xe0" + b"\x00" * 40, "photo.jpg"),
    ],
)
def test_files_that_are_no_images(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_image(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
    assert inspect_image(path).error is not None


@pytest.mark.parametrize("size", [(14000, 14000), (60000, 60000)])
def test_decompression_bombs_are_refused(size: tuple[int, int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match="million"):
            open_image(bomb(*size))


def test_thin_lines_are_refused(tmp_path: Path) -> None:
    """Their test transform would make millions of pixels of a few kilobytes."""
    for name, size in (("line", (1, 251)), ("stripe", (1000, 4))):
        Image.new("L", size).save(tmp_path / f"{name}.png")
    assert open_image(tmp_path / "stripe.png").size == (1000, 4)
    with pytest.raises(DataError, match="a line of 1 x 251 pixels"):
        open_image(tmp_path / "line.png")


def test_a_large_but_sound_header_gives_no_warning() -> None:
    """100 million pixels: Pillow warns, FewTune tries and finds that the pixels are missing."""
    with pytest.raises(DataError, match="Cannot read"):
        open_image(bomb(10000, 10000))


def test_missing_file_folder_and_odd_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        open_image(tmp_path / "none.png")
    with pytest.raises(DataError, match="directory"):
        open_image(tmp_path)
    with pytest.raises(DataError, match="null"):
        open_image("a\0b.png")


def test_arrays_of_uint8() -> None:
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(pixels(open_image(grey)), expected)
    np.testing.assert_array_equal(pixels(open_image(grey[:, :, None])), expected)
    np.testing.assert_array_equal(pixels(open_image(expected)), expected)
    with_alpha = np.dstack([expected, np.zeros((2, 3), np.uint8)])
    np.testing.assert_array_equal(pixels(open_image(with_alpha)), expected)
    np.testing.assert_array_equal(pixels(open_image(expected[::-1, ::2])), expected[::-1, ::2])


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 2, 3)), r"float64.*255 \* x"),
        (np.zeros((2, 2), np.uint16), "uint16"),
        (np.zeros((3, 20, 20), np.uint8), r"\(3, 20, 20\)"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (object(), "object"),
        (None, "NoneType"),
        ([[1, 2]], "list"),
    ],
)
def test_other_values_are_refused(array: object, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        open_image(array)


def test_sources_are_read_and_their_errors_told() -> None:
    class Broken:
        def read(self) -> bytes:
            raise KeyError("no member 'a.png'")

        def __str__(self) -> str:
            return "shard-3.tar:a.png"

    image = picture(2)
    np.testing.assert_array_equal(pixels(open_image(InMemory(image))), np.asarray(image))
    np.testing.assert_array_equal(pixels(open_image(InMemory(encoded(image)))), np.asarray(image))
    with pytest.raises(DataError, match=r"shard-3\.tar:a\.png.*no member"):
        open_image(Broken())


def test_a_given_pil_image_is_left_as_it_was() -> None:
    image = picture(2)
    opened = open_image(image)
    opened.putpixel((0, 0), (1, 2, 3))
    assert image.getpixel((0, 0)) != (1, 2, 3)


def test_digest_is_of_pixels_not_of_bytes() -> None:
    image = picture(7)
    same = [inspect_image(encoded(image, f)).digest for f in ("PNG", "BMP", "TIFF")]
    assert len(set(same)) == 1
    assert inspect_image(picture(8)).digest != same[0]
    wide, tall = Image.new("RGB", (4, 2)), Image.new("RGB", (2, 4))
    assert inspect_image(wide).digest != inspect_image(tall).digest


def test_one_pixel_image() -> None:
    facts = inspect_image(encoded(Image.new("L", (1, 1), 9)))
    assert (facts.width, facts.height, facts.error) == (1, 1, None)
    assert pixels(open_image(encoded(Image.new("L", (1, 1), 9)))).tolist() == [[[9, 9, 9]]]


def test_name_that_is_no_utf8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    path.write_bytes(b"junk")
    with pytest.raises(DataError) as caught:
        open_image(path)
    assert "udcff" in str(caught.value).encode().decode()
