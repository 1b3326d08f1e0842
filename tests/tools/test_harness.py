"""Short runs of the harnesses; docs/reliability.md says how long ones are started."""

import os
import subprocess

import pytest

from tools.harness import faults, fuzz, kill


def test_killed_work_ends_as_if_it_had_not_been_killed(capsys):
    assert kill.main(["--kills", "4", "--kind", "train", "--kind", "prepare"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [(line[0], line[1], line[3]) for line in lines] == [
        ("train", "2", "2"),
        ("prepare", "2", "2"),
    ]


def test_the_kill_harness_sees_a_difference(monkeypatch, capsys):
    work, state = kill.KINDS["prepare"]
    times = iter(range(9))
    monkeypatch.setitem(kill.KINDS, "prepare", (work, lambda f: {**state(f), "n": next(times)}))
    assert kill.main(["--kills", "1", "--kind", "prepare"]) == 1
    assert "prepare 0: differs in ['n']" in capsys.readouterr().out


def test_mutated_files_are_read_or_refused(capsys):
    assert fuzz.main(["--scale", "0.02"]) == 0, capsys.readouterr().out
    table = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert table.keys() == {"format", *fuzz.FORMATS}
    for kind in fuzz.FORMATS:
        cases, refused, taken, failed = map(int, table[kind])
        assert cases == refused + taken == round(0.02 * fuzz.COUNTS[kind])
        assert failed == 0
    assert int(table["options"][1]) > 30


def test_the_fuzzer_sees_a_traceback(tmp_path, monkeypatch):
    def cases(folder, count, draw):
        yield lambda: [][0]
        yield lambda: (folder.parent / "outside").write_text("")

    monkeypatch.setitem(fuzz.FORMATS, "tables", cases)
    out = tmp_path / "out"
    child = os.fork()  # the process changes its folder and its standard error
    if not child:
        fuzz.run("tables", 2, 0, str(tmp_path), str(out))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    told = out.read_text()
    assert "0: IndexError" in told
    assert "outside: " in told


@pytest.mark.slow
def test_full_read_only_and_vanished_folders_are_told_and_nothing_is_lost(capsys):
    trial = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=False)
    if os.geteuid() or trial.returncode:
        pytest.skip("mounting needs root")
    assert faults.main([]) == 0, capsys.readouterr().out
