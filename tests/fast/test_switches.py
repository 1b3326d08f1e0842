"""The switches of the fast ways: names, places, moments."""

import pytest

from srnas.errors import UserError
from srnas.fast import TECHNIQUES, on, plain, switched_off, without
from tests.helpers import search_options, srnas, write_options


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("SRNAS_PLAIN", raising=False)


def test_all_are_on_until_they_are_switched_off_and_again_after_it():
    assert all(map(on, TECHNIQUES))
    with without("merging"):
        assert switched_off() == {"merging"}
        with without("folding"):
            assert switched_off() == {"merging", "folding"}
        with plain():
            assert switched_off() == set(TECHNIQUES)
        assert switched_off() == {"merging"}
    assert not switched_off()


@pytest.mark.parametrize(
    ("written", "off"),
    [
        ("", set()),
        ("merging", {"merging"}),
        (" depthwise, folding,", {"depthwise", "folding"}),
        ("all", set(TECHNIQUES)),
    ],
)
def test_the_environment_is_read_when_a_technique_is_about_to_be_used(written, off, monkeypatch):
    assert all(map(on, TECHNIQUES))
    monkeypatch.setenv("SRNAS_PLAIN", written)
    assert switched_off() == off
    with without("fused_edges"):
        assert switched_off() == off | {"fused_edges"}


@pytest.mark.parametrize("written", ["mergin", "merging,all", "None"])
def test_an_unknown_name_is_told_with_the_known_ones(written, monkeypatch):
    monkeypatch.setenv("SRNAS_PLAIN", written)
    known = "known: merging, folding, fused_edges, depthwise, memory_format"
    with pytest.raises(UserError, match=f"SRNAS_PLAIN: no technique is named .*; {known}"):
        on("merging")
    with (
        pytest.raises(UserError, match=f"without: no technique is named 'x'; {known}"),
        without("x"),
    ):
        pass


def test_a_command_tells_an_unknown_name_before_it_starts(tmp_path, photo_folder):
    file = write_options(tmp_path / "search.yml", search_options(tmp_path, photo_folder))
    done = srnas("search", "-opt", file, SRNAS_PLAIN="mergin")
    assert done.returncode == 2
    assert done.stderr.startswith("error: SRNAS_PLAIN: no technique is named 'mergin'; known: ")
    assert not (tmp_path / "experiments/search/metrics.jsonl").exists()
