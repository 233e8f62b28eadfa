"""The rendered book in a real browser: what a reader sees who opens the folder without a network.

Needs a rendered book (`make book`), Chromium or Chrome, and `pip install -r
requirements-browser.txt`; skipped where one of them is missing, and on a continuous-integration
server. `make pages` installs, renders and runs them. FLATNESS_HTML names another folder with a
rendered book, FLATNESS_CHROMIUM another browser.
"""

import csv
import http.server
import io
import json
import os
import re
import shutil
import threading
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote, urldefrag

import pytest
from sphinx.application import Sphinx

HTML = Path(
    os.environ.get("FLATNESS_HTML", Path(__file__).resolve().parents[1] / "_build" / "html")
).resolve()
PAGES = sorted(
    str(path.relative_to(HTML)) for path in HTML.rglob("*.html") if "_static" not in path.parts
)
READ = [
    page for page in PAGES if page.startswith("book/")
]  # the rest: index of names, search, listings of the source
CHAPTERS = [page for page in READ if page.count("/") == 1]
PHONE = {"width": 375, "height": 800}
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = os.environ.get("FLATNESS_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)

rendered = pytest.mark.skipif(not READ, reason=f"no rendered book in {HTML}: run `make book` first")


# ---- without a browser: links


class Anchors(HTMLParser):
    """The identifiers of one page, and what it links to and loads."""

    def __init__(self, page):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed((HTML / page).read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids.update(
            filter(None, (values.get("id"), values.get("name") if tag == "a" else None))
        )
        if tag in ("a", "link", "img", "script", "source") and not (
            tag == "link" and values.get("rel") == "canonical"
        ):
            self.links += [(tag, url) for key in ("href", "src") if (url := values.get(key))]


anchors = cache(Anchors)


@rendered
@pytest.mark.parametrize("page", PAGES or ["none"])
def test_links_lead_somewhere(page):
    """Every internal link reaches a file and an anchor that exist; nothing is loaded from
    elsewhere.
    """
    broken = []
    for tag, url in anchors(page).links:
        if re.match(r"(https?:)?//", url):
            if tag != "a":
                broken.append(f"{tag} loads {url}")
            continue
        if url.startswith(("mailto:", "data:", "javascript:")):
            continue
        path, fragment = urldefrag(url)
        path = path.partition("?")[0]  # a version that keeps browsers from caching
        target = (HTML / page).parent.joinpath(unquote(path)).resolve() if path else HTML / page
        if not target.is_file() or HTML not in target.parents:
            broken.append(f"{url}: no such file")
        elif (
            fragment
            and target.suffix == ".html"
            and unquote(fragment) not in anchors(str(target.relative_to(HTML))).ids
        ):
            broken.append(f"{url}: no such place in the page")
    assert not broken


@rendered
@pytest.mark.parametrize("page", CHAPTERS or ["none"])
def test_executed_notebook_can_be_downloaded(page):
    """Every chapter with code offers its notebook, with outputs."""
    link = next(url for _, url in anchors(page).links if url.endswith(".ipynb"))
    cells = json.loads((HTML / page).parent.joinpath(link).read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code) and (
        not code or any(cell["outputs"] for cell in code)
    )


# ---- in the browser


def why_no_browser():
    if os.environ.get("CI"):
        return "not on a continuous-integration server"
    if not BROWSER:
        return f"no browser found (looked for {', '.join(NAMES)})"
    try:
        import axe_playwright_python  # noqa: F401
        import playwright  # noqa: F401
    except ImportError as error:
        return f"{error.name} is not installed: pip install -r requirements-browser.txt"
    return None


in_browser = pytest.mark.skipif(
    not READ or why_no_browser() is not None,
    reason=why_no_browser() or f"no rendered book in {HTML}",
)

FACTS = r"""() => {
  const hidden = node => node.parentElement.closest('script,style,noscript,pre,code,mjx-container,textarea,annotation,[hidden]');
  const words = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) if (!hidden(node)) words.push(node.data);
  const outside = element => { const box = element.getBoundingClientRect();
    return box.width && box.right > innerWidth + 1 && box.left < innerWidth; };
  const scrolls = element => element.closest('pre,.cell_output,.highlight,mjx-container,.pst-scrollable-table-container,aside,dialog,.bd-sidebar-primary,.bd-sidebar-secondary');
  return {
    text: words.join(' '),
    mathematics: document.querySelectorAll('span.math, div.math').length,
    typeset: document.querySelectorAll('mjx-container').length,
    refused: [...document.querySelectorAll('mjx-merror')].map(e => e.textContent),
    alternatives: [...document.querySelectorAll('article img:not(.toggler)')].map(image => image.getAttribute('alt') || ''),
    broken: [...document.images].filter(image => image.complete && !image.naturalWidth).map(image => image.src),
    cut: [...document.querySelectorAll('article mjx-container')].filter(formula => {
      const line = formula.parentElement.closest('p,li,dd,div'), box = formula.getBoundingClientRect();
      return !formula.closest('table,pre') && box.right > line.getBoundingClientRect().right + 2 && getComputedStyle(formula).overflowX === 'visible';
    }).slice(0, 5).map(formula => formula.closest('p,li,dd,div').textContent.slice(0, 120)),
    scroll: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    wide: [...document.querySelectorAll('article *')].filter(e => outside(e) && !scrolls(e)).slice(0, 5).map(e => e.outerHTML.slice(0, 120)),
  }
}"""
FIGURES = """() => [...document.querySelectorAll('article .cell_output img')].map(image => getComputedStyle(image).backgroundColor)"""
MODE = "mode => { document.documentElement.dataset.mode = mode; document.documentElement.dataset.theme = mode }"


@pytest.fixture(scope="session")
def browser():
    """One browser for all tests."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=BROWSER,
            args=["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else [],
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def tab(browser):
    """One offline tab for all pages; its `trouble` lists console errors, failed requests and
    requests to elsewhere.
    """
    context = browser.new_context(viewport=PHONE, offline=True)
    page = context.new_page()
    page.trouble = []
    page.set_default_timeout(120_000)
    page.on(
        "console",
        lambda message: (
            page.trouble.append(message.text) if message.type in ("error", "warning") else None
        ),
    )
    page.on("pageerror", lambda error: page.trouble.append(str(error)))
    page.on("requestfailed", lambda request: page.trouble.append(f"failed: {request.url}"))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((HTML.as_uri(), "data:", "blob:"))
            else page.trouble.append(f"leaves the folder: {request.url}")
        ),
    )
    yield page
    context.close()


@pytest.fixture(scope="session")
def open_page(tab):
    """url, width -> the tab with that page, its mathematics typeset."""

    def open_it(url, viewport=PHONE):
        tab.goto("about:blank")
        tab.trouble.clear()
        tab.set_viewport_size(viewport)
        tab.goto(f"{HTML.as_uri()}/{url}", wait_until="load")
        tab.evaluate(
            "window.MathJax && MathJax.startup ? MathJax.startup.promise.then(() => 0) : 0"
        )
        return tab

    return open_it


WIDE = """() => [...document.querySelectorAll('article mjx-container[display="true"], article pre')]
  .filter(block => block.scrollWidth > block.clientWidth + 1)
  .map(block => (block.querySelector('mjx-assistive-mml') || block).textContent.slice(0, 120))"""


def blocks_wider_than_their_column(page):
    """Displayed formulas and code that scroll sideways; what is folded is opened first, for what is
    hidden has no width.
    """
    page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true })")
    page.wait_for_timeout(300)  # formulas wider than their line are set smaller
    return page.evaluate(WIDE)


def examine(page, thoroughly):
    """The facts about the page in the tab: its text, its figures in the dark, and axe's verdicts in
    both modes.
    """
    from axe_playwright_python.sync_playwright import Axe

    page.wait_for_timeout(100)  # formulas wider than their line are told to scroll
    found = page.evaluate(FACTS)
    found["contrast"], found["trouble"] = [], list(page.trouble)
    for mode in ("light", "dark"):
        page.evaluate(MODE, mode)
        page.wait_for_timeout(200)  # colours fade over
        if thoroughly:
            verdict = (
                Axe()
                .run(
                    page,
                    options={
                        "runOnly": ["wcag2a", "wcag2aa"],
                        "resultTypes": ["violations"],
                        "preload": False,
                    },
                )
                .response
            )
            found["contrast"] += [
                f"{mode}: {rule['id']}: {node['html'][:120]}: {node['failureSummary']}"
                for rule in verdict["violations"]
                for node in rule["nodes"]
            ]
    found["in the dark"] = page.evaluate(FIGURES)
    found["scrolling blocks"] = blocks_wider_than_their_column(page)
    return found


@pytest.fixture(scope="session")
def visit(open_page):
    """The facts about a page on a phone, found once; a page that could not be opened is not tried
    again.
    """

    @cache
    def attempt(url):
        try:
            return examine(open_page(url), thoroughly=url in READ)
        except Exception as error:
            return error

    def facts(url):
        found = attempt(url)
        if isinstance(found, Exception):
            raise found
        return found

    return facts


@in_browser
@pytest.mark.parametrize(
    "page",
    [
        page
        for page in PAGES
        if not page.startswith("_modules") and page not in ("index.html", "search.html")
    ]
    or ["none"],
)
class TestPage:
    def test_no_errors_and_nothing_from_outside(self, visit, page):
        assert visit(page)["trouble"] == [] and visit(page)["broken"] == []

    def test_mathematics_is_typeset(self, visit, page):
        assert visit(page)["typeset"] >= visit(page)["mathematics"] and visit(page)["refused"] == []
        assert re.findall(r"\\[a-zA-Z]{2,}|\\[([]|\$[^$\s][^$]*\$", visit(page)["text"]) == []

    def test_figures_have_alternative_texts(self, visit, page):
        assert [
            text for text in visit(page)["alternatives"] if len(text) < 20 or text.endswith(".png")
        ] == []

    def test_phone_does_not_scroll_sideways(self, visit, page):
        assert visit(page)["scroll"] <= 0 and visit(page)["wide"] == [] and visit(page)["cut"] == []

    def test_formulas_and_code_fit_a_phone(self, visit, page):
        assert visit(page)["scrolling blocks"] == []

    def test_contrast_and_names_for_screen_readers(self, visit, page):
        assert visit(page)["contrast"] == []

    def test_figures_are_legible_in_the_dark(self, visit, page):
        """The figures are drawn in dark ink on nothing or white: in dark mode they keep a light and
        opaque ground.
        """
        grounds = [
            re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", colour)
            for colour in visit(page)["in the dark"]
        ]
        assert all(ground and min(map(int, ground.groups())) > 190 for ground in grounds), visit(
            page
        )["in the dark"]


@in_browser
@pytest.mark.parametrize(
    ("word", "page"), [("weakness", "Weakness, counted exactly"), ("flattest", "the flattest")]
)
def test_search_finds(open_page, word, page):
    found = open_page(f"search.html?q={word}", {"width": 1200, "height": 900})
    found.wait_for_function(
        "() => /finished|did not match/i.test(document.querySelector('#search-results')?.innerText || '')"
    )
    titles = found.locator("#search-results li a").all_inner_texts()
    assert any(page in title for title in titles), titles
    assert found.trouble == []


GLOSSARY, RESULT = "about/glossary", "a7_flattest"
DEFINED = {"weakness": GLOSSARY, "F*": GLOSSARY, "trace": GLOSSARY, "SAM": GLOSSARY}
DEFINED |= {"flattest": RESULT, "certified flattest": RESULT}


@in_browser
@pytest.mark.parametrize(("word", "page"), DEFINED.items())
def test_search_finds_the_definition_first(open_page, word, page):
    found = open_page(f"search.html?q={quote(word)}", {"width": 1200, "height": 900})
    found.wait_for_function(
        "() => /finished|did not match/i.test(document.querySelector('#search-results')?.innerText || '')"
    )
    first = found.locator("#search-results li a").first
    assert f"book/{page}" in first.get_attribute("href"), first.inner_text()


@in_browser
def test_front_page_opens_from_the_folder(tab):
    tab.goto("about:blank")
    tab.trouble.clear()
    tab.goto(f"{HTML.as_uri()}/index.html", wait_until="commit")
    tab.wait_for_url("**/book/index.html")
    assert "Flat or Weak?" in tab.title() and tab.trouble == []


# ---- figures that can be moved


@in_browser
def test_slider_moves_the_trace_and_not_the_function(open_page):
    page = open_page("book/playground.html")
    figure = page.locator('[data-figure="reparametrise"]')
    slider, said, curve = (
        figure.locator("input"),
        figure.locator("output"),
        figure.locator("path.strong"),
    )
    before, drawn = said.inner_text(), curve.get_attribute("d")
    slider.focus()
    page.keyboard.press("End")
    assert "β = 64" in said.inner_text() and said.inner_text() != before
    trace, best = (
        float(re.search(pattern, said.inner_text())[1])
        for pattern in (r"trace ([\d.e]+)", r"minimum ([\d.e]+)")
    )
    change = float(re.search(r"prediction ([\d.e-]+)", said.inner_text())[1])
    assert trace > 100 * best and change < 1e-12 and curve.get_attribute("d") == drawn
    assert page.trouble == []


@in_browser
def test_bad_networks_cost_more_as_samples_are_added(open_page):
    page = open_page("book/playground.html")
    figure = page.locator('[data-figure="interpolators"]')
    assert "n/d = 2:" in figure.locator("output").inner_text()  # where the text begins
    figure.locator("input").focus()
    page.keyboard.press("Home")
    costs = []
    for _ in range(5):
        costs.append(
            float(re.search(r"costs ([\d.]+) times", figure.locator("output").inner_text())[1])
        )
        page.keyboard.press("ArrowRight")
    assert costs[0] <= costs[-3] < costs[-2] < costs[-1] and figure.locator("ul li").count() >= 7
    figure.locator("select").select_option("abs")
    assert figure.locator("g .kind").count() > 10


@in_browser
def test_scatter_names_the_network_and_the_recorded_correlation(open_page):
    page = open_page("book/playground.html")
    figure = page.locator('[data-figure="scatter"]')
    record = json.loads(
        (Path(__file__).resolve().parents[1] / "results" / "pair_proxy_mnist.json").read_text()
    )
    for measure in ("pair_proxy", "trace", "effective_rank"):
        figure.locator("select").first.select_option(measure)
        said = figure.locator("output").inner_text()
        assert float(re.search(r"correlation (-?[\d.]+)", said)[1]) == pytest.approx(
            record["summary"]["correlations"][measure]["rho"], abs=0.006
        )
    figure.locator("svg").focus()
    page.keyboard.press("ArrowRight")
    least = min(range(100), key=record["table"]["effective_rank"].__getitem__)
    assert f"network {record['table']['seed'][least]}:" in figure.locator("output").inner_text()
    box = figure.locator("circle.present").bounding_box()
    other = figure.locator("circle.point").nth(50).bounding_box()
    page.mouse.move(other["x"] + other["width"] / 2, other["y"] + other["height"] / 2)
    assert figure.locator("circle.present").bounding_box() != box


@in_browser
def test_circle_never_exceeds_one_and_says_how_flat_the_teacher_is(open_page):
    figure = open_page("book/playground.html").locator('[data-figure="circle"]')
    slider, said = figure.locator("input"), figure.locator("output")
    values = []
    for key in ("Home", "PageUp", "PageUp", "End"):
        slider.press(key)
        values.append(float(re.search(r"dual function ([\d.]+)", said.inner_text())[1]))
    assert max(values) <= 1 and values[0] == values[-1] and len(set(values)) > 1
    flattest, teacher = map(
        float, re.search(r"flattest ([\d.]+), of the teacher ([\d.]+)", said.inner_text()).groups()
    )
    assert flattest < teacher


@in_browser
def test_lattice_marks_as_many_completions_as_it_says(open_page):
    page = open_page("book/playground.html")
    figure = page.locator('[data-figure="lattice"]')
    figure.locator("svg").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
        said = figure.locator("output").inner_text()
        marked = figure.locator("circle.held, circle.present").count()
        assert marked == int(re.search(r"its weakness is (\d+)", said)[1])


@in_browser
def test_probe_in_the_cone_says_which_classes_are_left(open_page):
    page = open_page("book/playground.html")
    figure = page.locator('[data-figure="cone"]')
    said, slider = figure.locator("output"), figure.locator("input")
    shares = []
    for _ in range(3):
        shares.append(int(re.search(r"(\d+) % of the square", said.inner_text())[1]))
        slider.focus()
        page.keyboard.press("ArrowRight")
    assert shares == sorted(shares, reverse=True)
    figure.locator("svg").focus()
    before = said.inner_text()
    page.keyboard.press("ArrowUp")
    assert said.inner_text() != before and "feasible pair" in said.inner_text()


@in_browser
def test_a_chart_has_its_controls_beside_it_and_on_a_phone_below(open_page):
    for width, beside in ((1400, True), (375, False)):
        page = open_page("book/playground.html", {"width": width, "height": 900})
        for place in page.locator(".movable-beside").all():
            chart = place.locator(".movable-chart").bounding_box()
            side = place.locator(".movable-side").bounding_box()
            assert (side["x"] >= chart["x"] + chart["width"]) == beside
            assert (side["y"] >= chart["y"] + chart["height"]) != beside


@in_browser
def test_pictures_stand_in_where_scripts_do_not_run(browser):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(f"{HTML.as_uri()}/book/playground.html")
    figures = set(re.findall(r'data-figure="(\w+)"', page.content()))
    assert figures >= {"reparametrise", "interpolators", "scatter", "cone", "lattice"}
    assert figures >= {"vanishing", "splits", "circle"}
    assert page.locator("article .cell_output img:visible").count() == len(figures)
    assert page.locator(".movable:visible").count() == 0
    context.close()


# ---- what can be taken away, and what explains itself


@rendered
@pytest.mark.parametrize("page", CHAPTERS)
def test_figures_come_as_svg_and_pdf(page):
    """Every figure that its notebook holds as vectors has its two links, and the files are such."""
    links = [url for _, url in anchors(page).links if "/_figures/" in url]
    for url in links:
        content = (HTML / page).parent.joinpath(url).read_bytes()
        assert content[:4] == b"%PDF" if url.endswith(".pdf") else b"<svg" in content[:1000]
    notebook = next(url for _, url in anchors(page).links if url.endswith(".ipynb"))
    cells = json.loads((HTML / page).parent.joinpath(notebook).read_text(encoding="utf-8"))["cells"]
    kinds = [o.get("data", {}) for cell in cells for o in cell.get("outputs", [])]
    assert len(links) == 2 * sum("application/pdf" in data for data in kinds)


@rendered
def test_statements_can_be_cited():
    text = (HTML / "_figures" / "statements.bib").read_text(encoding="utf-8")
    places = re.findall(r"note = \{(book/\w+\.html)\\#([\w-]+)\}", text)
    assert len(places) > 60 and "@book{flatorweak," in text
    assert [where for where in places if where[1] not in anchors(where[0]).ids] == []


TABLE = """() => [...document.querySelectorAll('article table.typeset')].map(table => ({
  caption: table.caption.innerText, columns: table.tHead.rows[0].cells.length, rows: table.tBodies[0].rows.length,
  box: table.getBoundingClientRect().width, room: table.parentElement.clientWidth,
  csv: table.nextElementSibling?.href || ''}))"""


@in_browser
@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("page", CHAPTERS)
def test_typeset_tables_fit_and_come_as_csv(open_page, page, width):
    tab = open_page(page, {"width": width, "height": 900})
    tab.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true })")
    for table in tab.evaluate(TABLE):
        assert table["box"] <= table["room"] + 1, table
        text = tab.evaluate("url => fetch(url).then(answer => answer.text())", table["csv"])
        rows = list(csv.reader(io.StringIO(text)))
        assert len(rows) == table["rows"] + 1 and len(rows[0]) >= table["columns"]
        assert {len(row) for row in rows} == {len(rows[0])} and "−" not in text


INK = """() => {
  document.documentElement.dataset.theme = 'dark';
  const grey = colour => Math.max(...colour.match(/[\\d.]+/g).slice(0, 3).map(Number));
  const ground = element => { for (; element; element = element.parentElement) {
    const colour = getComputedStyle(element).backgroundColor;
    if (!/, 0\\)$|transparent/.test(colour)) return grey(colour); } return 255; };
  return [...document.querySelectorAll('table.typeset caption, .movable output')].map(e =>
    [e.innerText.slice(0, 40), grey(getComputedStyle(e).color) - ground(e)]); }"""


@in_browser
@pytest.mark.parametrize("page", ["book/b4_vanishing.html", "book/playground.html"])
def test_captions_and_moving_figures_are_light_on_dark(open_page, page):
    found = open_page(page, {"width": 1280, "height": 900}).evaluate(INK)
    assert found and not [(text, step) for text, step in found if step < 100]


@in_browser
def test_words_explain_themselves(open_page):
    tab = open_page("book/a4_symmetry.html", {"width": 1200, "height": 900})
    titles = tab.eval_on_selector_all("article a.hover", "links => links.map(a => a.title)")
    assert len(titles) == len(set(titles)) > 3
    assert any(title.startswith("The orbit minimum") for title in titles)


# ---- on paper


@rendered
def test_pdf_has_every_chapter_and_no_raw_mathematics():
    """The PDF that `make pdf` made, if it did."""
    path = HTML / "flat-or-weak.pdf"
    if not path.is_file():
        pytest.skip("no PDF: run `make pdf`")
    reader = pytest.importorskip(
        "pypdf", reason="pypdf is not installed: pip install -r requirements-browser.txt"
    ).PdfReader(path)
    assert len(reader.outline) >= len(CHAPTERS) and len(reader.pages) > 3 * len(CHAPTERS)
    addresses = [
        str((note.get_object().get("/A") or {}).get("/URI", ""))
        for page in reader.pages
        for note in page.get("/Annots") or []
    ]
    assert addresses and not [address for address in addresses if address.startswith("file:")]
    typeset = [
        page
        for page in reader.pages
        for font in page["/Resources"].get("/Font", {}).values()
        if font.get_object()["/Subtype"] == "/Type3"
    ]
    assert len(typeset) > len(CHAPTERS)  # the web fonts of the mathematics
    assert 'href="../flat-or-weak.pdf"' in (HTML / "book" / "index.html").read_text(
        encoding="utf-8"
    )


@rendered
@in_browser
@pytest.mark.parametrize("page", CHAPTERS)
def test_no_displayed_formula_or_code_is_cut_on_a_desktop(open_page, page):
    assert blocks_wider_than_their_column(open_page(page, {"width": 1400, "height": 1000})) == []


# ---- nothing is loaded from outside, whatever a page is made to try

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
    text = (HTML / page).read_text(encoding="utf-8")
    if page == "index.html":  # only leads to the front page
        assert not LOADS.search(text)
    else:
        assert is_closed(policy(text))


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
def test_a_page_that_loads_from_outside_is_refused(browser, outside, tmp_path, monkeypatch):
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
def test_a_page_of_the_book_refuses_what_is_slipped_into_it(open_page, outside):
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
          await new Promise(done => setTimeout(done, 300));
          return refused;
        }""",
        address,
    )
    assert {"img-src", "connect-src", "script-src-elem"} <= set(seen)
    assert not asked
    page.trouble.clear()
