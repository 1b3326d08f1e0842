"""docs/options.md, which tools/options_page.py writes."""

import os
import re
import subprocess
import sys

from srnas.components import options_model
from srnas.spaces import SPACES
from tests.helpers import ROOT

PAGE = ROOT / "docs/options.md"


def test_the_page_is_current():
    """In a process of its own: other tests register parts."""
    done = subprocess.run(
        [sys.executable, "tools/options_page.py", "--check"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_every_option_on_the_page_has_a_description():
    rows = re.findall(r"^\| `.*\|$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) > 200
    for row in rows:
        assert re.search(r"\.\)? \|$", row), row


def test_every_link_of_the_page_has_a_heading():
    text = PAGE.read_text()
    headings = re.findall(r"^#{2,3} (.*)$", text, re.MULTILINE)
    known = {re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings}
    links = set(re.findall(r"\]\(#(.*?)\)", text))
    assert {"spaces", "schedules", "teacher-options"} <= links <= known


def test_the_page_has_every_option_of_a_space():
    text = PAGE.read_text().partition("### Spaces")[2]
    for name in ("imdn", "plain", "darts"):
        section = text.partition(f"#### `{name}`")[2].partition("####")[0]
        shown = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
        assert shown == list(options_model(SPACES, name).model_fields)
