"""The command line dispatches, and says what there is."""

import subprocess
import sys

import pytest

from flat_or_weak.__main__ import main


def test_list_and_show(capsys):
    assert main(["list"]) == 0 and "pair_proxy_mnist" in capsys.readouterr().out
    assert main(["show", "pair_proxy_mnist"]) == 0
    shown = capsys.readouterr().out
    assert "provenance:" in shown and "test_accuracy" in shown


def test_help_names_the_commands_and_an_unknown_one_is_refused(capsys):
    for arguments in (["--help"], ["run", "--help"], ["verify", "--help"], ["no_such_command"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == (2 if arguments == ["no_such_command"] else 0)
    text = capsys.readouterr()
    assert (
        "verify" in text.out
        and "--resume" in text.out
        and "invalid choice: 'no_such_command'" in text.err
    )


def test_show_of_what_is_not_recorded_lists_what_is(capsys, tmp_path):
    with pytest.raises(SystemExit):
        main(["show", "pair_proxy_mnist", "--folder", str(tmp_path)])
    assert "no such record" in capsys.readouterr().err


LIST = """
import sys
from flat_or_weak import __main__ as command
command.main = lambda: print("a line") or 0
sys.exit(command.into_a_pipe())
"""


def test_a_reader_that_leaves_ends_it_quietly():
    program = (
        "import os, sys; os.close(0); r, w = os.pipe(); os.close(r); os.dup2(w, 1); "
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, "-c", LIST],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1 and found.stderr == ""
