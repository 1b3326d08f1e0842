"""sessions.jsonl says when and on what a run was worked on, also if it was killed."""

import json
from datetime import datetime, timedelta, timezone

import pytest
import torch

import srnas
from srnas.engine.search import search
from srnas.engine.train import train
from srnas.options import check_options
from srnas.report.run import read_run
from tests.helpers import search_options, train_options


def rows(folder):
    return [json.loads(line) for line in (folder / "sessions.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("kind", "make", "run"), [("search", search_options, search), ("train", train_options, train)]
)
def test_every_start_and_resume_is_a_row(tmp_path, photo_folder, kind, make, run):
    options = check_options(kind, make(tmp_path, photo_folder), kind)
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    folder = run(options).parent
    (row,) = rows(folder)
    began, ended = (datetime.fromisoformat(row[key]) for key in ("began", "ended"))
    assert before <= began <= ended <= datetime.now(timezone.utc)
    assert row["versions"]["torch"] == torch.__version__
    assert f"{torch.get_num_threads()} thread" in row["machine"]
    assert row["processes"] == 1
    run(options, resume=True)
    assert [r["began"] for r in rows(folder)[:1]] == [row["began"]]
    assert len(rows(folder)) == 2
    told = read_run(folder).history()
    assert told[0] == f"begun {row['began'][:16].replace('T', ' ')}"
    assert told[-1] == f"srnas {srnas.__version__}"


def test_a_run_that_dies_has_worked_until_its_last_checkpoint(tmp_path, photo_folder, monkeypatch):
    options = check_options(
        "train", train_options(tmp_path, photo_folder, steps=4, checkpoint_every=1), "t"
    )
    moments = iter(f"2030-01-01T00:00:{second:02}+00:00" for second in range(60))
    monkeypatch.setattr("srnas.engine.sessions._now", lambda: next(moments))

    class Dead(BaseException):
        pass

    def die(self, *_):
        if self.run.start == 0 and self.progress.step == 3:
            raise Dead
        return None

    monkeypatch.setattr("srnas.engine.run.Loop.say", die)
    with pytest.raises(Dead):
        train(check_options("train", {**options.model_dump(mode="json"), "log_every": 1}, "t"))
    (row,) = rows(options.folder)
    # written when it began, and with the checkpoints of the steps 1 and 2
    assert (row["began"][-8:-6], row["ended"][-8:-6]) == ("00", "03")
