"""Kinds of images: each is read rightly or refused in one line, before it is decoded.

The files are written by Pillow, tifffile and OpenCV from pixels that are known.
"""

import io
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from srnas.data.headers import LIMIT, OTHER_BYTES, read_file
from srnas.data.images import read_rgb, read_with_alpha
from srnas.errors import UserError
from tests.helpers import ROOT

LOSSLESS = {"WEBP": {"lossless": True, "exact": True}}


@pytest.fixture
def small(photo):
    return np.ascontiguousarray(photo[100:140, 150:210])


@pytest.fixture
def alpha():
    return np.linspace(0, 255, 40 * 60).astype(np.uint8).reshape(40, 60)


def saved(path, image, kind, **how):
    Image.fromarray(image).save(path, kind, **LOSSLESS.get(kind, {}), **how)
    return path


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width, height, depth, colours, rows):
    """A PNG of colour type `colours` without a filter, from the bytes of its rows."""
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 1)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


# How the stored image comes from the one that is meant, by the number in EXIF (TIFF 6.0, p. 36).
STORED = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x.swapaxes(0, 1)[::-1],
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x[::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("number", STORED)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_an_image_is_turned_as_exif_asks_for(tmp_path, small, alpha, number, kind):
    exif = Image.Exif()
    exif[274] = number
    for image in (small, np.dstack([small, alpha])):
        file = saved(
            tmp_path / "x.img", np.ascontiguousarray(STORED[number](image)), kind, exif=exif
        )
        rgb, found = read_with_alpha(file)
        assert np.array_equal(rgb, small)
        assert (found is None) == (image is small)
        assert found is None or np.array_equal(found, alpha)


@pytest.mark.parametrize("number", STORED)
def test_a_jpeg_is_turned_as_exif_asks_for(tmp_path, small, number):
    exif = Image.Exif()
    exif[274] = number
    stored = np.ascontiguousarray(STORED[number](small))
    file = saved(tmp_path / "x.jpg", stored, "JPEG", exif=exif, quality=100, subsampling=0)
    assert np.abs(read_rgb(file).astype(int) - small).max() <= 4


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG2000"])
@pytest.mark.parametrize("gray", [False, True])
def test_colours_stay_as_they_stand_under_transparency(tmp_path, small, alpha, kind, gray):
    colours = small[..., :1] if gray else small
    file = saved(tmp_path / "x.img", np.dstack([colours, alpha]), kind)
    rgb, found = read_with_alpha(file)
    assert np.array_equal(rgb, np.broadcast_to(colours, rgb.shape))
    assert np.array_equal(found, alpha)
    assert np.array_equal(read_rgb(file), rgb)
    opaque = saved(tmp_path / "y.img", np.dstack([colours, np.full_like(alpha, 255)]), kind)
    assert np.array_equal(read_with_alpha(opaque)[0], rgb)
    assert read_with_alpha(opaque)[1] is None


def test_transparency_of_16_bits_becomes_8(tmp_path, small, alpha):
    deep = np.dstack([small, alpha]).astype(np.uint16) * 256 + 37
    cv2.imwrite(str(tmp_path / "x.png"), deep[..., [2, 1, 0, 3]])
    tifffile.imwrite(tmp_path / "x.tif", deep, photometric="rgb", extrasamples=["unassalpha"])
    rows = [row.astype(">u2").tobytes() for row in deep[..., 2:]]
    (tmp_path / "gray.png").write_bytes(png_of(60, 40, 16, 4, rows))
    for name, colours in (("x.png", small), ("x.tif", small), ("gray.png", small[..., 2:])):
        rgb, found = read_with_alpha(tmp_path / name)
        assert np.array_equal(rgb, np.broadcast_to(colours, rgb.shape)), name
        assert np.array_equal(found, alpha), name


def test_colours_that_a_tiff_multiplied_by_alpha_are_divided_again(tmp_path, small):
    alpha = np.full((40, 60, 1), 128, np.uint8)
    stored = np.dstack([np.round(small * (128 / 255)).astype(np.uint8), alpha])
    tifffile.imwrite(tmp_path / "x.tif", stored, photometric="rgb", extrasamples=["assocalpha"])
    assert np.abs(read_rgb(tmp_path / "x.tif").astype(int) - small).max() <= 2


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palette_gives_its_colours_and_its_transparent_one(tmp_path, small, kind):
    palette = np.random.default_rng(0).integers(0, 256, (16, 3), dtype=np.uint8)
    index = (small[..., 0] // 16).astype(np.uint8)
    image = Image.fromarray(index, "P")
    image.putpalette(palette.tobytes())
    image.save(tmp_path / "plain", kind)
    rgb, found = read_with_alpha(tmp_path / "plain")
    assert np.array_equal(rgb, palette[index])
    assert found is None
    image.save(tmp_path / "clear", kind, transparency=5)
    rgb, found = read_with_alpha(tmp_path / "clear")
    assert np.array_equal(rgb[index != 5], palette[index][index != 5])
    assert np.array_equal(found, np.where(index == 5, 0, 255))


def test_transparency_of_each_colour_of_a_palette_is_read(tmp_path, small):
    index = (small[..., 0] // 16).astype(np.uint8)
    image = Image.fromarray(index, "P")
    image.putpalette(bytes(range(48)))
    image.save(tmp_path / "x.png", transparency=bytes(range(0, 160, 10)))
    assert np.array_equal(read_with_alpha(tmp_path / "x.png")[1], index * 10)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_gray_png_of_few_bits_spans_the_whole_range(tmp_path, depth):
    levels = np.random.default_rng(0).integers(0, 2**depth, (40, 16), dtype=np.uint8)
    bits = (levels[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    rows = [row.tobytes() for row in np.packbits(bits.reshape(40, -1).astype(np.uint8), axis=1)]
    (tmp_path / "x.png").write_bytes(png_of(16, 40, depth, 0, rows))
    expected = levels * (255 // (2**depth - 1))
    assert np.array_equal(read_rgb(tmp_path / "x.png"), np.stack([expected] * 3, -1))


@pytest.mark.parametrize(
    ("kind", "how"),
    [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "group4"}), ("PPM", {})],
)
def test_an_image_of_1_bit_becomes_black_and_white(tmp_path, small, kind, how):
    bits = small[..., 0] > 128
    Image.fromarray(bits).save(tmp_path / "x.img", kind, **how)
    assert np.array_equal(read_rgb(tmp_path / "x.img"), np.stack([bits * np.uint8(255)] * 3, -1))


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pnm", ".jp2"])
@pytest.mark.parametrize("gray", [False, True])
def test_16_bits_become_8(tmp_path, small, suffix, gray):
    deep = small.astype(np.uint16) * 257
    lossless = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]
    file = tmp_path / f"x{suffix}"
    cv2.imwrite(str(file), deep[..., 0] if gray else deep[..., ::-1], lossless)
    expected = np.stack([small[..., 0]] * 3, -1) if gray else small
    assert np.array_equal(read_rgb(file), expected)


@pytest.mark.parametrize("most", [15, 100, 255, 1023, 65535])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_ppm_or_pgm_is_scaled_by_its_maximum(tmp_path, most, channels):
    values = np.random.default_rng(0).integers(0, most + 1, (40, 60, channels))
    header = b"P%d\n60 40\n%d\n" % (6 if channels == 3 else 5, most)
    content = values.astype(">u2" if most > 255 else np.uint8).tobytes()
    (tmp_path / "x.pnm").write_bytes(header + content)
    expected = np.broadcast_to(values * 255 / most, (40, 60, 3))
    assert np.abs(read_rgb(tmp_path / "x.pnm") - expected).max() <= (0 if most == 255 else 1)


@pytest.mark.parametrize(
    "how",
    [
        {"tile": (16, 16)},
        {"compression": "zlib", "predictor": True},
        {"bigtiff": True},
        {"planarconfig": "separate"},
        {"byteorder": ">"},
    ],
)
def test_tiff_in_its_many_forms_gives_the_same_pixels(tmp_path, small, how):
    image = small.transpose(2, 0, 1) if "planarconfig" in how else small
    tifffile.imwrite(tmp_path / "x.tif", image, photometric="rgb", **how)
    assert np.array_equal(read_rgb(tmp_path / "x.tif"), small)


def test_a_tiff_whose_zero_is_white_is_inverted(tmp_path, small):
    tifffile.imwrite(tmp_path / "x.tif", 255 - small[..., 0], photometric="miniswhite")
    assert np.array_equal(read_rgb(tmp_path / "x.tif"), np.stack([small[..., 0]] * 3, -1))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_converted_by_the_plain_formula_or_refused_with_a_profile(tmp_path, kind):
    cmyk = np.full((16, 16, 4), (40, 80, 120, 30), np.uint8)
    image = Image.fromarray(cmyk, "CMYK")
    image.save(tmp_path / "plain", kind)
    expected = (255 - cmyk[..., :3].astype(float)) * (255 - 30) / 255
    assert np.abs(read_rgb(tmp_path / "plain") - expected).max() <= 2
    image.save(tmp_path / "managed", kind, icc_profile=b"of some printer")
    with pytest.raises(UserError, match="managed: its colours are CMYK with a profile"):
        read_rgb(tmp_path / "managed")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "TIFF"])
def test_frames_and_pages_are_refused(tmp_path, small, kind):
    second = Image.fromarray(small[::-1])
    saved(tmp_path / "x.img", small, kind, save_all=True, append_images=[second, second])
    with pytest.raises(UserError, match=r"x\.img: holds [23] frames or pages; save the one"):
        read_rgb(tmp_path / "x.img")
    saved(tmp_path / "y.img", small, kind)
    read_rgb(tmp_path / "y.img")


def test_the_previews_in_jpeg_and_tiff_are_no_pages(tmp_path, small):
    preview = Image.fromarray(small[::2, ::2])
    saved(tmp_path / "x.jpg", small, "MPO", save_all=True, append_images=[preview])
    assert Image.open(tmp_path / "x.jpg").n_frames == 2
    assert read_rgb(tmp_path / "x.jpg").shape == small.shape
    with tifffile.TiffWriter(tmp_path / "x.tif") as tiff:
        tiff.write(small, photometric="rgb")
        tiff.write(small[::2, ::2], photometric="rgb", subfiletype=1)
    assert np.array_equal(read_rgb(tmp_path / "x.tif"), small)


@pytest.mark.parametrize("kind", [np.float32, np.int16, np.int8, np.int32])
def test_numbers_without_a_known_range_are_refused(tmp_path, small, kind):
    tifffile.imwrite(tmp_path / "x.tif", small[..., 0].astype(kind))
    with pytest.raises(UserError, match=r"x\.tif: its pixels are floating-point or signed"):
        read_rgb(tmp_path / "x.tif")


def test_cielab_and_unknown_formats_are_refused(tmp_path, small):
    Image.fromarray(small).convert("LAB").save(tmp_path / "lab.tif")
    with pytest.raises(UserError, match=r"lab\.tif: its colours are CIELAB"):
        read_rgb(tmp_path / "lab.tif")
    cv2.imwrite(str(tmp_path / "x.hdr"), small.astype(np.float32))
    saved(tmp_path / "x.tga", small, "TGA")
    for name in ("x.hdr", "x.tga"):
        with pytest.raises(UserError, match=r"not a readable image; .* or convert it to PNG"):
            read_rgb(tmp_path / name)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "JPEG2000", "PPM", "GIF"])
def test_an_image_of_more_pixels_than_the_limit_is_refused(tmp_path, small, monkeypatch, kind):
    file = saved(tmp_path / "x.img", small, kind)
    monkeypatch.setenv(LIMIT, "2399")
    with pytest.raises(UserError, match=rf"x\.img: 60x40 is more than 2399 .* {LIMIT}=2400$"):
        read_rgb(file)
    monkeypatch.setenv(LIMIT, "2400")
    assert read_rgb(file).shape == (40, 60, 3)


def test_a_file_larger_than_any_image_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv(LIMIT, "10")
    with open(tmp_path / "x.png", "wb") as file:
        file.truncate(OTHER_BYTES + 81)
    with pytest.raises(
        UserError, match=rf"x\.png: {OTHER_BYTES + 81} bytes are more than an image"
    ):
        read_file(tmp_path / "x.png")


@pytest.mark.parametrize("value", ["many", "-1", "0", "1e6", str(2**30 + 1), "٣"])
def test_a_limit_that_is_no_number_of_pixels_is_told(tmp_path, small, monkeypatch, value):
    file = saved(tmp_path / "x.png", small, "PNG")
    monkeypatch.setenv(LIMIT, value)
    with pytest.raises(UserError, match=f"{LIMIT}={value}: give a number of pixels from 1"):
        read_rgb(file)


def test_a_small_file_of_a_huge_image_takes_no_memory(tmp_path):
    file = tmp_path / "x.png"
    file.write_bytes(png_of(32000, 32000, 1, 0, [bytes(4000)] * 32000))
    assert file.stat().st_size < 2 << 20
    code = f"""
import resource
from pathlib import Path
from srnas.data.images import read_rgb
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
try:
    read_rgb(Path({str(file)!r}))
except ValueError as error:
    print(error)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    told, grown = done.stdout.splitlines()
    assert f"x.png: 32000x32000 is more than {1 << 28} pixels" in told
    assert int(grown) < 50, "MiB"


def test_pillows_own_limit_does_not_count_or_is_told(tmp_path, small, monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    clear = np.dstack([small, small[..., 0]])
    for kind, image in (("PNG", small), ("PNG", clear), ("BMP", small), ("JPEG2000", clear)):
        file = saved(tmp_path / "x", image, kind)
        assert np.array_equal(read_rgb(file), small)
        with pytest.raises(Image.DecompressionBombError):
            Image.open(io.BytesIO(file.read_bytes()))
    assert not recwarn.list
    file = saved(tmp_path / "x.tif", small, "TIFF")
    told = r"x\.tif: Image size \(2400 pixels\) exceeds limit of 20 pixels, .*larger as PNG"
    with pytest.raises(UserError, match=told):
        read_rgb(file)
