"""Messages of a run: broken between words on a terminal, whole in a pipe."""

import io

import pytest
from rich.console import Console

from srnas.progress import Progress

MESSAGE = (
    "epoch 2: c1=conv_3x3_bn c2=dil_ds_conv_3x3_bn c3=conv_3x3_bn c4=ds_conv_3x3_bn "
    "(probabilities 0.088 to 0.22; by chance 0.083) [not markup]"
)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_message_is_broken_between_words_on_a_terminal_and_whole_in_a_pipe(terminal):
    progress = Progress(10)
    file = io.StringIO()
    progress.console = Console(file=file, width=80, force_terminal=terminal, color_system=None)
    progress.tell(MESSAGE)
    lines = file.getvalue().splitlines()
    assert " ".join(line.rstrip() for line in lines) == MESSAGE
    assert len(lines) == (2 if terminal else 1)
    assert not terminal or max(map(len, lines)) <= 80
