"""Files: whole or not at all; nothing in them is executed."""

import os
import pickle
import resource
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from srnas.errors import UserError, WriteError
from srnas.files import (
    atomic_file,
    file_name,
    load_tensors,
    read_json,
    read_json_lines,
    remove_unfinished,
    save_tensors,
    write_atomic,
)
from tests.helpers import Malicious, killed


def test_a_pickle_with_code_is_refused_and_not_executed(tmp_path):
    target = tmp_path / "executed"
    for name, write in (
        ("a.pth", torch.save),
        ("b.pth", lambda o, p: p.write_bytes(pickle.dumps(o))),
    ):
        write({"weight": Malicious(target)}, tmp_path / name)
        with pytest.raises(UserError, match=r"could execute code"):
            load_tensors(tmp_path / name)
        assert not target.exists()
    torch.load(tmp_path / "a.pth", weights_only=False)
    assert target.exists(), "the file was no threat: the test proves nothing"


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_a_broken_weight_file_is_named(tmp_path, content):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.pth: "):
        load_tensors(path)


def test_tensors_survive_a_round_trip(tmp_path):
    state = {"a": torch.arange(3.0), "b": {"c": [1, 2.5, "x", None, True]}}
    save_tensors(tmp_path / "s.pt", state)
    loaded = load_tensors(tmp_path / "s.pt")
    assert torch.equal(loaded["a"], state["a"])
    assert loaded["b"] == state["b"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x.txt"
    write_atomic(path, "old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_a_line_cut_by_a_crash_is_left_out(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert read_json_lines(tmp_path / "x.jsonl") == [{"step": 1}, {"step": 2}]


def test_broken_json_is_told_with_its_line(tmp_path):
    (tmp_path / "x.json").write_text('{\n"a": \n}')
    with pytest.raises(UserError, match=r"x\.json: not JSON \(line 3"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize(
    "name", ["0801.png", "Set5 x2", "...", ".hidden", "ä" * 127, "a;b$c'd", "CONsole", "nul_x2.png"]
)
def test_a_name_that_can_be_a_files_is_one(tmp_path, name):
    write_atomic(tmp_path / file_name(name, "data"), name)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "it is empty"),
        (".", "it names a folder"),
        ("..", "it names a folder"),
        ("../x", "it has a separator"),
        ("/etc/x", "it has a separator"),
        ("a/b", "it has a separator"),
        ("a\\b", "it has a separator"),
        ("a\0b", "it has a control character"),
        ("a\nb", "it has a control character"),
        ("\x1b[2J", "it has a control character"),
        ("a\x85b", "it has a control character"),
        ("a\u2028b", "it has a control character"),
        ("ä" * 128, "it is longer than 255 bytes"),
        ("con", "Windows reserves it"),
        ("NUL.png", "Windows reserves it"),
        ("Lpt1.tar.gz", "Windows reserves it"),
    ],
)
def test_a_name_that_cannot_be_a_files_is_told_in_one_line(name, told):
    with pytest.raises(UserError) as error:
        file_name(name, "here")
    assert str(error.value).startswith("here: ")
    assert told in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert str(error.value).isprintable()


def test_what_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("old")
    for path in (tmp_path / "file" / "x", tmp_path):
        with pytest.raises(WriteError, match=f"^{path}: cannot be written"):
            write_atomic(path, "new")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, limit[1]))  # as a full disk
    try:
        for size in (6, 1 << 20):
            with pytest.raises(WriteError, match=r"file: cannot be written \(File too large"):
                write_atomic(tmp_path / "file", bytes(size))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"file": "old"}


def test_names_of_the_longest_length_can_be_written(tmp_path):
    for name in ("x" * 255, "ä" * 127):
        write_atomic(tmp_path / name, name)
        assert (tmp_path / name).read_text() == name


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_have_the_usual_mode_and_threads_do_not_change_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: write_atomic(tmp_path / str(i), "x"), range(64)))
        assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o666 & ~mask}
    finally:
        assert os.umask(before) == mask


def test_only_what_killed_writers_left_is_removed(tmp_path):
    others = [".x.part", ".x.0123456789ab", "x.0123456789ab.part", ".x.0123456789aB.part"]
    for name in others:
        (tmp_path / name).write_text("")
    for name in ("x", "x.json"):
        assert killed(3, tmp_path, write_atomic, tmp_path / name, "new")  # before it is renamed
    left = {file.name for file in tmp_path.iterdir()} - set(others)
    assert len(left) == 2
    remove_unfinished(tmp_path, "x")
    (kept,) = {file.name for file in tmp_path.iterdir()} - set(others)
    assert kept.startswith(".x.json.")
    with atomic_file(tmp_path / "y") as file:
        file.write(b"y")
        remove_unfinished(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"y", *others}
    assert (tmp_path / "y").read_text() == "y"
    remove_unfinished(tmp_path / "nowhere")
