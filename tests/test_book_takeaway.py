"""The extensions that let a reader take figures and statements away, and that explain words."""

import base64
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes
from docutils.utils import new_document

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import book_hover  # noqa: E402
import book_takeaway  # noqa: E402


def test_vectors_are_the_figures_that_have_both_kinds(tmp_path):
    both = {
        "image/svg+xml": ["<svg>", "</svg>"],
        "application/pdf": base64.b64encode(b"%PDF").decode(),
    }
    cells = [{"outputs": [{"data": {"image/png": "AA=="}}, {"data": both}]}, {"source": "text"}]
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    assert list(book_takeaway.vectors(path)) == [("<svg></svg>", b"%PDF")]


def test_every_statement_has_an_entry_with_its_own_key():
    entries = list(book_takeaway.entries_of_statements())
    keys = [re.match(r"@incollection\{(\S+),", entry)[1] for entry in entries]
    assert len(keys) == len(set(keys)) > 60 and "flatorweak:a4-orbit" in keys
    orbit = entries[keys.index("flatorweak:a4-orbit")]
    assert "Orbit minimum" in orbit and "book/a4_symmetry.html\\#a4-orbit" in orbit
    assert all(entry.count("{") == entry.count("}") for entry in entries)
    assert "title = {Flat or Weak?}" in book_takeaway.entry_of_the_book()


def test_terms_and_symbols_have_meanings():
    assert {"weakness", "F*", "SAM", "pair proxy"} <= set(book_hover.terms())
    assert book_hover.terms()["SAM"].startswith("Sharpness-aware minimisation")
    assert "doc" not in " ".join(book_hover.terms().values())
    assert "m" in book_hover.symbols() and "trace" in book_hover.symbols()["F^*(\\theta)"]


@pytest.fixture
def page():
    """A document with one paragraph: words, a formula, and a link."""
    document = new_document("page")
    words = nodes.paragraph("", "", nodes.Text("A weakness, its weakness; SAM and sam; "))
    words += nodes.math("", "F^*")
    words += nodes.reference("", "", nodes.Text("orbit"), refuri="x")
    document += words
    return document


def test_first_use_of_a_term_becomes_a_link_with_its_definition(page):
    places = [("x", term, "term", "g", f"term-{term}", 1) for term in book_hover.terms()]
    domain = SimpleNamespace(get_objects=lambda: places)
    app = SimpleNamespace(
        builder=SimpleNamespace(format="html", get_relative_uri=lambda old, new: f"{new}.html"),
        env=SimpleNamespace(get_domain=lambda name: domain),
    )
    book_hover.define(app, page, "book/a1_question")
    links = [link for link in page.findall(nodes.reference) if "hover" in link["classes"]]
    assert [link.astext() for link in links] == ["weakness", "SAM", "F^*"]
    assert links[0]["reftitle"] == book_hover.terms()["weakness"]
    assert links[0]["refuri"] == "book/about/glossary.html#term-weakness"
    assert page.astext() == "A weakness, its weakness; SAM and sam; F^*orbit"
