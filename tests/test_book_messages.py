"""The regression test of the chapters says in sentences what failed: tried on two small chapters,
on two processes.
"""

import base64
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

BOOK = Path(__file__).resolve().parents[1] / "book"


def printed(source, text):
    return new_code_cell(
        source, execution_count=1, outputs=[new_output("stream", name="stdout", text=text)]
    )


def shown(source, text):
    output = new_output("execute_result", {"text/plain": text}, execution_count=1)
    return new_code_cell(source, execution_count=1, outputs=[output])


def silent(source):
    return new_code_cell(source, execution_count=1)


NUMBERS = [
    new_markdown_cell("# Numbers and claims\n\n```\n# no heading\n```"),
    printed("print('fine')", "fine\n"),
    new_markdown_cell("## What is printed"),
    printed("# the table\nprint('a 1')\nprint('b 2.5')", "a 1\nb 2.4\n"),
    new_markdown_cell("### What is claimed"),
    silent("x = 3\n# squares are small\nassert (x**2\n        < 5), 'too large'\ny = 1"),
    silent("y + 1"),
    silent("print(y)"),
    silent("1 / 0"),
    shown("x", "4"),
    silent("print(2)"),
    printed("print(1)", "1\n2\n"),
    silent("import sys\nprint('careful', file=sys.stderr)"),
]
ORDER = [
    new_markdown_cell("# Order"),
    silent("def positive(z):\n    assert z > 0\n    return z"),
    silent("z = -1\nassert z > -2\npositive(z)"),
]

SHOW = """import io
import matplotlib.image, numpy as np
from IPython.display import Image, display
def png(grey):
    file = io.BytesIO()
    matplotlib.image.imsave(file, np.full((40, 60, 3), grey), format="png")
    return file.getvalue()
def show(grey):
    display(Image(png(grey)))"""


def pictured(source, *greys):
    """A cell whose page shows squares of these greys."""
    namespace = {}
    exec(SHOW, namespace)
    plain = {"text/plain": "<IPython.core.display.Image object>"}
    outputs = [
        new_output(
            "display_data",
            plain | {"image/png": base64.b64encode(namespace["png"](grey)).decode()},
        )
        for grey in greys
    ]
    return new_code_cell(source, execution_count=1, outputs=outputs)


PICTURES = [
    new_markdown_cell("# Pictures"),
    silent(SHOW),
    pictured("show(0.2)", 0.21),  # but for rendering the same
    pictured("show(0.3)", 0.7),
    pictured("show(0.4)", 0.4, 0.4),
    pictured("show(0.5)"),
]


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Exit status, the closing lines of the report, and all of it."""
    folder = tmp_path_factory.mktemp("book")
    shutil.copy(BOOK / "conftest.py", folder)
    (folder / "warm_kernels.py").write_text(
        "def install():\n    pass  # these import nothing large\n"
    )
    for name, cells in (
        ("n1_numbers", NUMBERS),
        ("n2_order", ORDER),
        ("n3_fine", [printed("print(1)", "1\n")]),
        ("n4_pictures", PICTURES),
    ):
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(
            new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / f"{name}.ipynb"
        )
    command = [
        sys.executable,
        *"-m pytest -q -n 2 --dist loadfile --nbval --nbval-current-env".split(),
        *"-p no:cacheprovider".split(),
    ]
    run = subprocess.run(
        [*command, "-c", os.devnull, f"--rootdir={folder}", folder],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYDEVD_DISABLE_FILE_VALIDATION": "1"},
    )
    closing = run.stdout.partition("what failed in the chapters")[2]
    return run.returncode, "\n".join(line.rstrip() for line in closing.splitlines()), run.stdout


def test_the_run_fails_and_the_sentences_come_last(said):
    status, closing, everything = said
    assert status == 1 and closing, everything
    assert "short test summary info" not in closing and "n3_fine" not in closing


@pytest.mark.parametrize(
    "lines",
    [
        """
Numbers and claims (book/n1_numbers.md)
  Cell 1, under "What is printed", 'the table':
    line 2 of the output differs
      the page shows  b 2.4
      now it is       b 2.5
  Cell 2, under "What is claimed", 'squares are small':
    the claim `assert (x**2 < 5), 'too large'` does not hold: too large
""",
        """
    `1 / 0` raised ZeroDivisionError: division by zero
  Cell 6, under "What is claimed", 'x':
    line 1 of the output differs
      the page shows  4
      now it is       3
""",
        """
    output of kind stdout that the page does not have: 2
""",
        """
    1 line(s) of output, where the page shows 2
""",
        """
    a warning that the page does not have: careful
  2 more failed for want of a name that an earlier cell should have defined: 3, 4
  Again, this chapter only:  make test CHAPTER=n1_numbers
Order (book/n2_order.md)
  Cell 1, before the first section, 'assert z > -2':
    `positive(z)` raised AssertionError:
  Again, this chapter only:  make test CHAPTER=n2_order
""",
        """
Pictures (book/n4_pictures.md)
  Cell 2, before the first section, 'show(0.3)':
    picture 1 is another one
  Cell 3, before the first section, 'show(0.4)':
    1 picture(s), where the page has 2
  Cell 4, before the first section, 'show(0.5)':
    1 picture(s), where the page has 0
  Again,""",
    ],
)
def test_every_failure_is_a_sentence(said, lines):
    assert lines in said[1], said[1]
