"""The book is rendered again exactly when something that it is made from, or a page, is another."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))
import render  # noqa: E402

PAGE = "_build/html/index.html"


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A small book; rendering writes one page, and what is asked of the world can be changed."""
    for name in ("book/a.md", "src/a.py", "src/data.npz", "results/r.json", "_toc.yml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    world = SimpleNamespace(root=tmp_path, status=0, stale=0, meanwhile=lambda: None)

    def build(command, check):
        assert {"-W", "-n"} <= set(command)  # warnings are errors
        page = tmp_path / PAGE
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("page")
        world.meanwhile()
        return SimpleNamespace(returncode=world.status)

    monkeypatch.setattr(render, "ROOT", tmp_path)
    monkeypatch.delenv("FLATNESS_REPOSITORY", raising=False)
    monkeypatch.setattr(render.subprocess, "run", build)
    monkeypatch.setattr(
        render.subprocess, "Popen", lambda *a, **o: SimpleNamespace(wait=lambda: world.stale)
    )
    return world


def test_a_rendered_book_is_not_rendered_again(book):
    assert render.main(["--check"]) == 1
    assert render.main([]) == 0
    assert render.main(["--check"]) == 0
    (book.root / "src" / "__pycache__").mkdir()
    (book.root / "src" / "__pycache__" / "a.pyc").write_text("compiled")
    (book.root / "book" / ".a.ipynb.tmp").write_text("half written")
    assert render.main(["--check"]) == 0


@pytest.mark.parametrize(
    "name", ["book/a.md", "src/a.py", "src/data.npz", "results/r.json", "_toc.yml", "new.md", PAGE]
)
def test_another_file_is_seen(book, name):
    render.main([])
    (book.root / name).write_text("another")
    assert render.main(["--check"]) == 1


@pytest.mark.parametrize("name", ["book/a.md", PAGE, "_build/.rendered"])
def test_a_file_that_is_gone_is_seen(book, name):
    render.main([])
    (book.root / name).unlink()
    assert render.main(["--check"]) == 1


def test_another_address_of_the_repository_is_seen(book, monkeypatch):
    render.main([])
    monkeypatch.setenv("FLATNESS_REPOSITORY", "somewhere")
    assert render.main(["--check"]) == 1


def test_warnings_fail_and_are_not_forgotten(book):
    render.main([])
    book.status = 1
    assert render.main([]) == 1 and render.main(["--check"]) == 1


def test_what_is_stale_or_changes_meanwhile_is_not_up_to_date(book):
    book.stale = 1
    assert render.main([]) == 0 and render.main(["--check"]) == 1
    book.stale, book.meanwhile = 0, lambda: (book.root / "book" / "a.md").write_text("edited")
    assert render.main([]) == 0 and render.main(["--check"]) == 1


def test_an_interrupted_rendering_is_begun_again(book):
    def interrupt():
        raise KeyboardInterrupt

    render.main([])
    book.meanwhile = interrupt
    with pytest.raises(KeyboardInterrupt):
        render.main([])
    assert render.main(["--check"]) == 1
