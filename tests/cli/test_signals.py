"""SIGINT and SIGTERM outside the steps of a run: one line, 130 and 143."""

import signal
import subprocess
import sys

import pytest

from tests.helpers import srnas, train_options, write_options

ON_IMPORT = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Finder())
"""
ON_READING = """
import os
import srnas.data.images as images

read = images.read_rgb

def interrupted(path):
    os.kill(os.getpid(), {number})
    return read(path)

images.read_rgb = interrupted
"""
SIGNALS = [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]


@pytest.mark.parametrize(("number", "code", "told"), SIGNALS)
def test_a_signal_while_torch_is_imported_is_told_in_one_line(tmp_path, number, code, told):
    plugin = tmp_path / "p.py"
    plugin.write_text(ON_IMPORT.format(module="torch", number=int(number)))
    done = subprocess.run(
        [sys.executable, "-m", "srnas", "--plugin", str(plugin), "doctor"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (code, f"{told}\n")
    assert done.stdout == ""


@pytest.mark.parametrize(("number", "code", "told"), SIGNALS)
def test_a_signal_while_images_are_read_is_told_in_one_line(
    tmp_path, photo_folder, number, code, told
):
    plugin = tmp_path / "p.py"
    plugin.write_text(ON_READING.format(number=int(number)))
    file = write_options(tmp_path / "o.yml", train_options(tmp_path, photo_folder))
    done = srnas("--plugin", plugin, "train", "-opt", file)
    assert (done.returncode, done.stderr) == (code, f"{told}\n")
    assert not (tmp_path / "experiments").exists()
