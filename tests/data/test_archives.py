"""Images out of archives: what is taken, what is refused, and how much a small file can demand."""

import resource
import struct
import subprocess
import sys
import zipfile

import cv2
import pytest

from srnas.data.archives import unpack_images
from srnas.data.headers import LIMIT, OTHER_BYTES
from srnas.data.images import read_rgb
from srnas.errors import UserError, WriteError
from tests.helpers import ROOT


@pytest.fixture
def png(photo):
    return cv2.imencode(".png", photo[:20, :30, ::-1])[1].tobytes()


def pack(path, *members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def patched(path, local, central, value):
    """Change a field of two bytes in the headers of the first member."""
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", local), (b"PK\1\2", central)):
        struct.pack_into("<H", data, data.index(signature) + offset, value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_images_of_any_suffix_are_taken_and_hidden_and_other_files_are_not(tmp_path, png, method):
    others = [("a/._0001.PNG", b"resource fork"), ("readme.txt", b"text"), ("b.png/", b"")]
    images = [("a/0001.PNG", png), ("a/b/0002.png", png), ("0003.Png", png)]
    unpack_images(pack(tmp_path / "x.zip", *others, *images, method=method), tmp_path / "out")
    taken = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert taken == dict.fromkeys(("0001.PNG", "0002.png", "0003.Png"), png)


@pytest.mark.parametrize("second", ["b/0001.png", "b/0001.PNG", "0001.jpg"])
def test_two_images_of_one_name_are_told_before_anything_is_written(tmp_path, png, second):
    archive = pack(tmp_path / "x.zip", ("a/0001.png", png), ("a/0002.png", png), (second, png))
    with pytest.raises(UserError, match=rf"x\.zip: a/0001\.png and {second} would become the same"):
        unpack_images(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_exists_is_kept_if_equal_and_told_if_not(tmp_path, png):
    archive = pack(tmp_path / "x.zip", ("0001.png", png))
    unpack_images(archive, tmp_path / "out")
    file = tmp_path / "out/0001.png"
    before = file.stat()
    unpack_images(archive, tmp_path / "out")
    assert file.stat() == before
    other = bytearray(png)
    other[-1] ^= 1
    file.write_bytes(other)
    with pytest.raises(UserError, match=r"out/0001\.png and 0001\.png in .*x\.zip differ"):
        unpack_images(archive, tmp_path / "out")
    assert file.read_bytes() == other


@pytest.mark.parametrize("folder", ["..", "../../..", "/", "/etc", "a/../../.."])
def test_nothing_is_written_outside_whatever_the_folders_of_a_member(tmp_path, png, folder):
    out = tmp_path / "deep/er/out"
    unpack_images(pack(tmp_path / "x.zip", (f"{folder}/evil.png", png)), out)
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {tmp_path / "x.zip", out / "evil.png"}


@pytest.mark.parametrize("name", ["a\\..\\evil.png", "a\nb.png", "x" * 252 + ".png", "NUL.png"])
def test_a_member_that_cannot_name_a_file_is_told(tmp_path, png, name):
    with pytest.raises(UserError, match=r"x\.zip: .*cannot name a file"):
        unpack_images(pack(tmp_path / "x.zip", ("good.png", png), (name, png)), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def test_encrypted_and_unknown_ways_of_packing_are_told(tmp_path, png):
    archive = patched(pack(tmp_path / "x.zip", ("a.png", png)), 6, 8, 1)
    with pytest.raises(UserError, match=r"x\.zip: a\.png is encrypted; unpack it"):
        unpack_images(archive, tmp_path / "out")
    archive = patched(pack(tmp_path / "x.zip", ("a.png", png)), 8, 10, 99)
    with pytest.raises(UserError, match=r"x\.zip: packed in a way that is not known here"):
        unpack_images(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.95])
def test_a_broken_archive_is_told_and_leaves_no_broken_file(tmp_path, png, cut):
    archive = pack(tmp_path / "x.zip", ("a.png", png), ("b.png", png), method=zipfile.ZIP_STORED)
    data = archive.read_bytes()
    archive.write_bytes(data[: int(cut * len(data))])
    with pytest.raises(UserError, match=r"x\.zip: broken or truncated"):
        unpack_images(archive, tmp_path / "out")
    damaged = bytearray(data)
    damaged[len(data) // 4] ^= 255  # within a.png
    archive.write_bytes(damaged)
    with pytest.raises(UserError, match=r"x\.zip: broken or truncated \(Bad CRC-32"):
        unpack_images(archive, tmp_path / "out")
    assert list(tmp_path.rglob("*.p*")) == []


def test_what_cannot_be_written_is_not_the_archives_fault(tmp_path, png):
    archive = pack(tmp_path / "x.zip", ("a.png", png))
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"file/out/a\.png: cannot be written \(Not a directory"):
        unpack_images(archive, tmp_path / "file/out")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(png) - 1, limit[1]))  # as a full disk
    try:
        with pytest.raises(WriteError, match=r"out/a\.png: cannot be written \(File too large"):
            unpack_images(archive, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_member_larger_than_any_image_is_told_before_it_is_unpacked(tmp_path, monkeypatch, png):
    archive = pack(tmp_path / "x.zip", ("0.png", png), ("1.png", bytes(OTHER_BYTES + 8001)))
    monkeypatch.setenv(LIMIT, "1000")
    told = rf"x\.zip: 1\.png: {OTHER_BYTES + 8001} bytes .* of 1000 pixels .* set {LIMIT}=\d+$"
    with pytest.raises(UserError, match=told) as error:
        unpack_images(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv(LIMIT, str(error.value).rpartition("=")[2])
    unpack_images(archive, tmp_path / "out")
    assert read_rgb(tmp_path / "out/0.png").shape == (20, 30, 3)


def test_a_member_that_lies_about_its_size_takes_no_memory(tmp_path):
    size = 200 << 20
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as content:
        content.writestr("a.png", bytes(size))
    data = archive.read_bytes()
    honest, lie = (struct.pack("<I", number) for number in (size, 1000))
    assert data.count(honest) == 2, "in the local header and in the directory"
    archive.write_bytes(data.replace(honest, lie))
    code = f"""
import resource
from pathlib import Path
from srnas.data.archives import unpack_images
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
try:
    unpack_images(Path({str(archive)!r}), Path({str(tmp_path / "out")!r}))
except ValueError as error:
    print(error)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    told, grown = done.stdout.splitlines()
    assert "x.zip: broken or truncated (Bad CRC-32" in told
    assert int(grown) < 50, "MiB"
