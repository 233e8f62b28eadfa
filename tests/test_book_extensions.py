"""The extensions that turn docstrings into pages, link them with the chapters, and describe the
figures.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import book_folding  # noqa: E402
import book_functions  # noqa: E402
import book_numbers  # noqa: E402
import book_reading  # noqa: E402
import book_status  # noqa: E402

# ---- functions


def test_names_are_followed_to_where_they_are_defined():
    assert (
        book_functions.canonical("flatness.symmetry.orbits.TwoLayer")
        == "flatness.networks.two_layer.TwoLayer"
    )
    assert book_functions.canonical("flatness.networks.two_layer") == "flatness.networks.two_layer"
    assert book_functions.canonical("flatness.networks.two_layer.nothing") is None
    assert book_functions.canonical("flatness.nowhere.trace") is None


def test_names_used_in_code():
    code = (
        "import flatness.curvature.trace as k\nfrom flatness.interpolators import bounds\n"
        "from flatness.networks.two_layer import TwoLayer as Net, trace\n"
        "k.hessian_trace(x)\nbounds.flatness_lower_bound(x, y)\nNet(a, w, s).count\ny.trace()\n"
    )
    assert book_functions.names_used(code) == {
        "flatness.curvature.trace.hessian_trace",
        "flatness.interpolators.bounds.flatness_lower_bound",
        "flatness.networks.two_layer.TwoLayer",
    }


def test_every_module_is_in_exactly_one_group():
    listed = [name for names in book_functions.groups().values() for name in names]
    assert sorted(listed) == sorted(book_functions.all_modules())


def test_every_group_has_its_page():
    pages = "".join(path.read_text() for path in (ROOT / "book" / "api").glob("*.md"))
    assert all(f'{{{{ modules of "{group}" }}}}' in pages for group in book_functions.groups())


def test_docstrings_are_shown_as_written():
    lines = [
        "|x| for `x`, a_j * b, see a3_trace.",
        "",
        "Parameters",
        "----------",
        "x : (n, d),",
        "    the *inputs*.",
        "",
        ">>> f(1)",
        "2",
    ]
    app = SimpleNamespace(env=SimpleNamespace(found_docs={"book/a3_trace"}))
    book_functions.as_written(app, "function", "flatness.nowhere.f", None, None, lines)
    assert lines[0] == r"\|x\| for ``x``, a\_j \* b, see :doc:`/book/a3_trace`."
    assert (
        lines[2] == "**Parameters**"
        and lines[4].startswith("| x")
        and r"\*inputs\*" in lines[5]
        and lines[-3:-1] == [">>> f(1)", "2"]
    )


# ---- figures


def page_with(*after):
    image, cell = nodes.image(uri="a.png"), nodes.container(classes=["cell"])
    output = nodes.container(classes=["cell_output"])
    output += image
    cell += output
    section = nodes.section()
    section += [cell, *after]
    return image


def test_caption_is_the_paragraph_after_the_cell():
    caption = nodes.paragraph("", "", nodes.strong("", "Figure."), nodes.Text(" What to see."))
    assert book_reading.caption_of(page_with(caption)) is caption
    assert (
        book_reading.caption_of(
            page_with(nodes.target(), nodes.paragraph("", "", nodes.emphasis("", "See.")))
        )
        is not None
    )


@pytest.mark.parametrize(
    "after", [[], [nodes.paragraph("", "Plain text.")], [nodes.container(classes=["cell"])]]
)
def test_figure_without_caption(after):
    assert book_reading.caption_of(page_with(*after)) is None


def test_alternative_text_is_whole_sentences():
    text = "First. " + "Second " * 30 + "end. Third " * 30
    assert book_reading.first_sentences(text, 100) == "First."
    assert book_reading.first_sentences("Short. And more.", 100) == "Short. And more."
    assert len(book_reading.first_sentences("word " * 300, 100)) <= 102


# ---- status, and the one setting for the cloud


def test_status_counts_the_checks_of_a_chapter():
    cells = book_status.row(
        "a1_question", {"seconds": 2.5, "peak_gb": 0.4, "date": "2026-01-01"}, stale=False
    ).split("|")
    assert (
        int(cells[2]) > 0
        and int(cells[3]) > 0
        and cells[4].strip() == "2.5"
        and cells[5].strip() == "0.4"
    )
    assert cells[7].strip() == "passed"
    assert "changed since" in book_status.row("a1_question", {}, stale=True)


def test_buttons_appear_with_an_address(monkeypatch):
    monkeypatch.delenv("FLATNESS_REPOSITORY", raising=False)
    config = SimpleNamespace(html_theme_options={}, public_repository="")
    book_status.cloud(None, config)
    assert config.html_theme_options == {}
    config.public_repository = "https://example.org/us/book"
    book_status.cloud(None, config)
    assert (
        config.html_theme_options["repository_url"] == "https://example.org/us/book"
        and "launch_buttons" in config.html_theme_options
    )


# ---- numbers and folds


def test_a_build_compares_sphinx_numbers_with_sphinx_numbers():
    """What the pages show is by chapter; what the next build compares is what Sphinx counted."""
    counted = {"book/a1_question": {"theorem": {"x": (1,)}}, "book/b1_l": {"theorem": {"y": (2,)}}}
    env = SimpleNamespace(toc_fignumbers=counted)
    assert book_numbers.from_each_chapter(None, env) == []  # no page is to be written for it
    assert env.toc_fignumbers["book/b1_l"]["theorem"]["y"] == ("B1", 1)
    assert book_numbers.through_the_book(None, env) == []
    assert env.toc_fignumbers is counted


@pytest.mark.parametrize(
    "text, together",
    [("as ", None), (". So", "x."), (" and", None), ("), so", "x),"), ("", None)],
)
def test_a_mark_stays_with_its_formula(text, together):
    paragraph = nodes.paragraph("", "", nodes.Text("For "), nodes.math("x", "x"), nodes.Text(text))
    document = SimpleNamespace(findall=paragraph.findall)
    book_reading.NoLonelyMarks.apply(SimpleNamespace(document=document))
    found = [node.astext() for node in paragraph.findall(nodes.inline)]
    assert found == ([together] if together else []) and paragraph.astext() == f"For x{text}"


@pytest.mark.parametrize(
    "code, name",
    [
        ("y = f(x)\nz = g(y)", None),
        ("y = f(x)\nz = g(y)\nw = h(z)\nassert w > 0", None),
        ("plt.plot(x)\nassert x > 0", "how this is drawn"),
        ("for x in y:\n    assert x\nprint('checked')", "check"),
    ],
)
def test_what_reads_like_a_formula_stays_open(code, name):
    assert book_folding.label(code) == name
