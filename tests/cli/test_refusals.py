"""What the command line cannot do is told in one line with exit code 2, and nothing is lost."""

import json
import os
import subprocess
import sys

import pytest

from srnas.errors import UserError
from srnas.plugins import load_plugin
from tests.cli.test_commands import refused
from tests.helpers import search_options, srnas, train_options, write_options

LAUGHS = "\n".join(
    ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
)


@pytest.fixture
def search_file(tmp_path, photo_folder):
    return write_options(tmp_path / "o.yml", search_options(tmp_path, photo_folder, epochs=1))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("seed=100000000000000000000", "seed: Input should be less than"),
        ("seed=-1", "seed: Input should be greater than or equal to 0, got -1"),
        ("threads=1000000000000", "threads: Input should be less than or equal to 1024"),
        ("data.batch_size=1000000000000", "data.batch_size: Input should be less than or equal"),
        ("data.hr_patch=1000000000000", "data.hr_patch: Input should be less than or equal to"),
        ("space.num_feat=1000000000", "space.num_feat: Input should be less than or equal to 1024"),
        ("space.num_block=100000000", "space.num_block: Input should be less than or equal to 256"),
        ("epochs=10000000000000000000000000", "epochs: Input should be less than or equal to"),
        ("device=meta", "device: 'meta' is not available here"),
        ("device=" + "x" * 1000, "is not available here"),
        ("regularizers=5", "regularizers: Input should be a valid list, got 5"),
        ("regularizers.0.0.0=5", "regularizers.0: unknown key '0'"),
        ("epochs=!!int abc", "override 'epochs=!!int abc': line 1: 'abc' is not of type int"),
        ("epochs=" + "9" * 5000, "a number of 5000 characters"),
        ("epochs=" + "[" * 3000, "more than 50 levels"),
        ("a" + ".a" * 3000 + "=1", "more than 50 levels"),
        ("x" * 10_000 + "=1", "unknown key 'xxx"),
        ("space=" + "x" * 10_000, "no space is named 'xxx"),
        ("epochs={.nan: 1}", "nan cannot be a key"),
        ("method=sa_darts", "regularizers: Input should be a valid list, got 5"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, search_file, override, told):
    more = ["regularizers=5"] if override.startswith("method") else []
    done = srnas("search", "-opt", search_file, override, *more, timeout=60)
    assert refused(done, told)
    assert len(done.stderr) < 1500
    assert not (tmp_path / "experiments").exists()


def test_a_dry_run_and_a_profile_refuse_sizes_out_of_range(search_file):
    done = srnas("search", "-opt", search_file, "space.num_block=100000000", "--dry-run")
    assert refused(done, "space.num_block")
    for size, told in (
        ("99999999999x99999999999", "sides are up to 65,536 pixels"),
        ("9" * 5000 + "x3", "sides are up to 65,536 pixels"),
        ("²x3", "write it as WIDTHxHEIGHT"),
        ("0x3", "write it as WIDTHxHEIGHT"),
    ):
        assert refused(srnas("profile", "--space", "imdn", "--scale", 2, "--input", size), told)


def test_options_files_that_are_no_options_are_refused_soon(tmp_path):
    for content, told in (
        (LAUGHS, "o.yml: line 5: more than 20,000 values"),
        ("a: " + "[" * 3000 + "]" * 3000, "o.yml: line 1: more than 50 levels"),
        ("a: !!timestamp 2020-99-99", "'2020-99-99' is not of type timestamp"),
        ("[1]", "expected keys with values, found list"),
        ("name: x\nname: y\n", "line 2: key 'name' is given twice"),
    ):
        (tmp_path / "o.yml").write_text(content)
        assert refused(srnas("search", "-opt", tmp_path / "o.yml", timeout=60), told)


def test_what_the_system_refuses_is_told_with_its_path(tmp_path, search_file):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    long = tmp_path / ("x" * 300)
    for options, told in (
        (tmp_path, f"{tmp_path}: is a directory"),
        (tmp_path / "loop", f"{tmp_path / 'loop'}: too many levels of symbolic links"),
        (long, f"{long}: file name too long"),
    ):
        assert refused(srnas("search", "-opt", options), told)
    for folder, told in (
        (tmp_path / "file", "file/search: cannot be written (Not a directory)"),
        (tmp_path / "loop", "cannot be written (Too many levels of symbolic links)"),
        (long, "cannot be written (File name too long)"),
    ):
        assert refused(srnas("search", "-opt", search_file, f"experiments={folder}"), told)
    for command in (("report", long), ("check", f"{long}.json"), ("upscale", long, "--model", long,
                                                                 "--out", tmp_path)):  # fmt: skip
        assert refused(srnas(*command), "x" * 300)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_full_disk_and_a_vanished_folder_stop_a_run_in_one_line(tmp_path, photo_folder):
    options = train_options(tmp_path, photo_folder, steps=4, log_every=1)
    file = write_options(tmp_path / "o.yml", options)
    run = tmp_path / "experiments/train"
    run.mkdir(parents=True)
    (run / "metrics.jsonl").symlink_to("/dev/full")  # what a disk is when it fills during the run
    plugin = tmp_path / "p.py"
    plugin.write_text("from srnas.engine.run import Run\nRun._cut_log = lambda *_: None\n")
    done = srnas("--plugin", plugin, "train", "-opt", file)
    assert refused(done, f"{run / 'metrics.jsonl'}: cannot be written (No space left on device)")
    plugin.write_text(
        "import shutil\nfrom srnas.engine.run import Run\nlog = Run.log\n"
        "def vanish(run, *row):\n    shutil.rmtree(run.folder)\n    log(run, *row)\n"
        "Run.log = vanish\n"
    )
    done = srnas("--plugin", plugin, "train", "-opt", file, "name=gone")
    assert refused(done, "gone/metrics.jsonl: cannot be written (No such file or directory)")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("import os\n\ndef f(:\n", "line 3: SyntaxError: invalid syntax"),
        ("def f():\n    return {}['a']\n\n\nf()\n", "line 2: KeyError: 'a'"),
        ("raise ValueError('one\\ntwo')\n", "line 1: ValueError: one two"),
        ("import nowhere\n", "line 1: ModuleNotFoundError: No module named 'nowhere'"),
        ("x = '\0'", "null byte"),
        (
            "from srnas.spaces import SPACES\n\n@SPACES.register('mine')\nclass A: pass\n",
            # The class statement begins at its decorator since Python 3.11.
            f"line {3 if sys.version_info >= (3, 11) else 4}: space 'mine' must extend",
        ),
    ],
)
def test_a_plugin_that_fails_is_told_with_its_line(tmp_path, content, told):
    (tmp_path / "p.py").write_text(content)
    with pytest.raises(UserError, match=r"--plugin \S+p\.py: ") as error:
        load_plugin(tmp_path / "p.py")
    assert told in " ".join(str(error.value).split())
    if "one" in content:
        assert refused(srnas("--plugin", tmp_path / "p.py", "spaces"), f"p.py: {told}")


def test_a_lack_of_memory_is_told(tmp_path):
    (tmp_path / "p.py").write_text("import torch\ntorch.empty(1 << 60, dtype=torch.uint8)\n")
    assert refused(srnas("--plugin", tmp_path / "p.py", "spaces"), "RuntimeError", "memory")
    (tmp_path / "p.py").write_text(
        "import torch, srnas.cost\n"
        "srnas.cost.count_macs = lambda *_: torch.empty(1 << 60, dtype=torch.uint8)\n"
    )
    done = srnas("--plugin", tmp_path / "p.py", "profile", "--space", "imdn", "--scale", 2)
    assert refused(done, "not enough memory, use smaller batches, images or networks")


def test_a_broken_log_of_a_run_is_told(tmp_path, search_file):
    assert srnas("search", "-opt", search_file).returncode == 0
    run = tmp_path / "experiments/search"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    del rows[0]["step"]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = f"{run / 'metrics.jsonl'}: row 1: step: Field required"
    before = (run / "metrics.jsonl").read_bytes()
    for command in (("report", run), ("analyze", run), ("search", "-opt", search_file, "--resume")):
        assert refused(srnas(*command), told)
    assert (run / "metrics.jsonl").read_bytes() == before


def test_a_defect_keeps_its_traceback(tmp_path):
    (tmp_path / "p.py").write_text(
        "import srnas.cli.spaces as spaces\n"
        "spaces.command.__code__ = compile('1 / 0', 'elsewhere', 'eval')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "srnas", "--plugin", str(tmp_path / "p.py"), "spaces"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError" in done.stderr
