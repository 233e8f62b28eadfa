"""Pages refuse whatever they are made to load from elsewhere, and lose nothing by it."""

import http.server
import re
import threading
from pathlib import Path

import pytest
from sphinx.application import Sphinx
from test_pages import (  # noqa: F401  fixtures
    HTML,
    PAGES,
    browser,
    in_browser,
    open_page,
    rendered,
    tab,
    why_no_browser,
)

EXTENSIONS = Path(__file__).resolve().parents[1] / "book" / "_ext"
LOADS = re.compile(r"<(script|link|style|img|iframe)\b")


def policy(head):
    """The sources by kind that the first thing in a page allows which loads or restricts."""
    meta = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', head)
    assert meta, "no policy"
    assert not LOADS.search(head[: meta.start()]), "something loads before the policy"
    return {part.split()[0]: part.split()[1:] for part in meta[1].split(";")}


def is_closed(found):
    """Whether a policy names no place outside, and covers every kind of thing that is loaded."""
    allowed = {"'self'", "file:", "data:", "blob:", "'unsafe-inline'", "'none'"}
    return "default-src" in found and {s for kind in found.values() for s in kind} <= allowed


@pytest.mark.parametrize(
    "content",
    ["script-src 'self'", "default-src *", "default-src 'self' https:", "default-src example.org"],
)
def test_an_open_policy_is_seen(content):
    head = f'<head><meta http-equiv="Content-Security-Policy" content="{content}"><script>'
    assert not is_closed(policy(head))


@rendered
@pytest.mark.parametrize("page", PAGES or ["none"])
def test_every_page_has_the_policy_before_it_loads_anything(page):
    assert is_closed(policy((HTML / page).read_text(encoding="utf-8")))


@pytest.fixture
def outside():
    """(address, paths asked for) of a server that is not the book's."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


PAGE = """
A page
======

.. raw:: html

   <img src="HERE/image"><script src="HERE/script"></script><iframe src="HERE/frame"></iframe>
   <link rel="stylesheet" href="HERE/style">
   <style>body { background: url(HERE/background) }</style>
   <script>
     fetch("HERE/fetch").catch(() => 0); new Image().src = "HERE/beacon";
     navigator.sendBeacon("HERE/post"); new WebSocket("HERE/socket".replace("http", "ws"));
   </script>
   <script>document.title = "inline scripts run"</script>
"""


def build(folder, address, extensions):
    """A book of one page that tries everything, and its address."""
    (folder / "conf.py").write_text("")
    (folder / "index.rst").write_text(PAGE.replace("HERE", address))
    settings = {"extensions": extensions, "html_theme": "basic"}
    Sphinx(folder, folder, folder / "out", folder / "trees", "html", settings, status=None).build()
    return (folder / "out" / "index.html").as_uri()


@pytest.mark.skipif(why_no_browser() is not None, reason=str(why_no_browser()))
@pytest.mark.filterwarnings("ignore")  # Sphinx about itself
def test_a_page_that_loads_from_outside_is_refused(browser, outside, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.syspath_prepend(str(EXTENSIONS))
    address, asked = outside
    refused = []
    for extensions in ([], ["book_security"]):
        folder = tmp_path / f"with{len(extensions)}"
        folder.mkdir()
        page = browser.new_page()
        page.on("console", lambda message: refused.append(message.text))
        url = build(folder, address, extensions)
        page.goto(url, wait_until="load")
        page.wait_for_timeout(500)
        assert page.title() == "inline scripts run"
        page.close()
        if not extensions:  # without the policy all of it is asked for: the test can fail
            parts = ("image", "script", "frame", "style", "background", "fetch", "beacon", "socket")
            assert {f"/{part}" for part in parts} <= set(asked)
            asked.clear(), refused.clear()
    assert not asked
    assert sum("Content Security Policy" in text for text in refused) >= 8


@in_browser
def test_a_page_of_the_book_refuses_what_is_slipped_into_it(open_page, outside):  # noqa: F811
    address, asked = outside
    page = open_page("book/index.html")
    seen = page.evaluate(
        """async address => {
          const refused = [];
          addEventListener('securitypolicyviolation', e => refused.push(e.effectiveDirective));
          new Image().src = address + '/image';
          await fetch(address + '/fetch').catch(() => 0);
          const script = document.createElement('script');
          script.src = address + '/script'; document.head.append(script);
          try { new Function('return 1')(); refused.push('evaluated') } catch {}
          await new Promise(done => setTimeout(done, 300));
          return refused;
        }""",
        address,
    )
    assert {"img-src", "connect-src", "script-src-elem"} <= set(seen) and "evaluated" not in seen
    assert not asked
    page.trouble.clear()
