"""Files: whole or not at all; nothing in them is executed."""

import os
import pickle

import pytest
import torch

from srnas.errors import UserError
from srnas.files import load_tensors, read_json, read_json_lines, save_tensors, write_atomic
from tests.helpers import Malicious


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
