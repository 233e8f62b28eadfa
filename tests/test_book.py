"""Guards of the book: what the regression test of the notebooks alone would let through."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import nbval.plugin
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
PAGES = sorted(path.stem for path in BOOK.glob("*.md"))
COMPARED = {
    "text/plain",
    "text/html",
    "text/latex",
    "text/markdown",
    "application/json",
    "image/svg+xml",
}

spec = importlib.util.spec_from_file_location("execute", BOOK / "execute.py")
execute = importlib.util.module_from_spec(spec)
spec.loader.exec_module(execute)


def notebook(page):
    return nbformat.read(BOOK / f"{page}.ipynb", as_version=4)


def code_cells(page):
    return [cell for cell in notebook(page).cells if cell.cell_type == "code"]


def asserted_names(source):
    """Names of variables that the assertions of a cell speak about (attributes, calls included)."""
    tests = [node.test for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
    return {name.id for test in tests for name in ast.walk(test) if isinstance(name, ast.Name)}


def is_compared(cell):
    """Whether nbval compares anything that this cell puts out."""
    return any(
        output.output_type == "stream"
        or COMPARED & set(output.get("data", {}))
        and not {"image/png"} & set(output.get("data", {}))
        for output in cell.outputs
    )


def test_every_page_is_in_the_contents_and_the_other_way_round():
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = [contents["root"]] + [
        chapter["file"] for part in contents["parts"] for chapter in part["chapters"]
    ]
    files = [
        file for file in files if Path(file).parent == Path("book")
    ]  # pages of functions are made from docstrings
    assert sorted(Path(file).stem for file in files) == PAGES
    assert sorted(path.stem for path in BOOK.glob("*.ipynb")) == PAGES


MADE_BY_EXECUTION = {"outputs", "execution_count", "records", "fingerprint"}


def as_written(part):
    """A notebook's or a cell's entries that its source decides: tags and other metadata too."""
    return {key: value for key, value in part.items() if key not in MADE_BY_EXECUTION}


def out_of_step(source, executed):
    """The first thing in which an executed notebook is not its source; None if there is none."""
    if as_written(source.metadata) != as_written(executed.metadata):
        return f"metadata {as_written(executed.metadata)}"
    if [cell.id for cell in source.cells] != [cell.get("id") for cell in executed.cells]:
        return "cells"
    pairs = zip(source.cells, executed.cells, strict=True)
    return next((old.id for old, new in pairs if as_written(old) != as_written(new)), None)


@pytest.mark.parametrize("page", PAGES)
def test_pair_is_in_step(page):
    assert out_of_step(execute.source_notebook(page), notebook(page)) is None, (
        f"book/{page}.ipynb was made from another version of book/{page}.md; run `make book`"
    )


@pytest.mark.parametrize(
    "tamper",
    [
        lambda page: page.cells[1].metadata.update(tags=["remove-cell"]),
        lambda page: page.cells[1].metadata.update(mystnb={"figure": {"caption": "other"}}),
        lambda page: page.metadata.update(mystnb={"execution_mode": "off"}),
        lambda page: page.metadata.kernelspec.update(name="another"),
        lambda page: page.cells[0].update(attachments={"a.png": {"image/png": "AA=="}}),
        lambda page: page.cells[1].update(source="other"),
        lambda page: page.cells.pop(),
    ],
)
def test_what_is_added_to_a_notebook_alone_is_seen(tamper):
    executed = notebook("a2_setting")
    assert out_of_step(executed, notebook("a2_setting")) is None
    tamper(executed)
    assert out_of_step(notebook("a2_setting"), executed)


def unknown_outputs(cell):
    """Outputs of a kind that no fresh run is compared in, or that is shown otherwise than it is."""
    known = {
        "stream": {("stdout",)},
        "display_data": {
            ("image/png", "text/plain"),
            ("application/pdf", "image/png", "image/svg+xml", "text/plain"),
            ("text/html", "text/plain"),
        },
        "execute_result": {("text/plain",), *((f"text/{k}", "text/plain") for k in TEXTS)},
    }
    return [
        output
        for output in cell.outputs
        if tuple(sorted(output.get("data", ()))) not in known.get(output.output_type, ())
        and (output.get("name"),) not in known.get(output.output_type, ())
        or output.get("metadata")
    ]


TEXTS = ("html", "latex", "markdown")


@pytest.mark.parametrize("page", PAGES)
def test_outputs_are_of_known_kinds(page):
    assert not [cell.id for cell in code_cells(page) if unknown_outputs(cell)]


@pytest.mark.parametrize(
    "output",
    [
        nbformat.v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}}),
        nbformat.v4.new_output("display_data", {"image/jpeg": "AA==", "text/plain": "x"}),
        nbformat.v4.new_output("display_data", {"image/svg+xml": "<svg/>"}),
        nbformat.v4.new_output("execute_result", {"text/plain": "1"}, metadata={"scrolled": True}),
        nbformat.v4.new_output("stream", name="stderr", text="careful"),
        nbformat.v4.new_output("error", ename="E", evalue="", traceback=[]),
    ],
)
def test_an_output_of_another_kind_is_seen(output):
    assert unknown_outputs(nbformat.v4.new_code_cell("x", outputs=[output]))


RAW = re.compile(r"\b(True|False|None)\b|np\.\w+\(|tensor\(|array\(|[\[{(]'|^[\[{]", re.M)


def printed(cell):
    """What a reader sees of a cell as plain text."""
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if output.output_type == "stream":
            yield output.text
        elif not {"text/html", "text/markdown", "text/latex", "image/png"} & set(data):
            yield data.get("text/plain", "")


@pytest.mark.parametrize("page", PAGES)
def test_no_output_is_raw(page):
    """A check says in words what it checked, and numbers stand in sentences or typeset tables."""
    found = [text for cell in code_cells(page) for text in printed(cell) if RAW.search(text)]
    assert not found


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("the bound holds: True", True),
        ("{'relu': 0.0}", True),
        ("interval [np.float64(0.05), np.float64(0.18)]", True),
        ("['1', '0.5']", True),
        ("checked: rho = +0.11 [+0.05, +0.18]", False),
        ("{a, b} survives", True),
        ("checked: {a, b} survives", False),
    ],
)
def test_a_raw_output_is_seen(text, raw):
    assert bool(RAW.search(text)) == raw


@pytest.mark.parametrize("page", PAGES)
def test_page_belongs_to_the_present_code_and_results(page):
    assert not execute.is_stale(page), (
        f"book/{page}.ipynb was executed with other code or results; run `make book`"
    )


def run_in_order(cells):
    """Whether every code cell was run, once and in order, in a fresh kernel."""
    counts = [cell.execution_count for cell in cells if cell.cell_type == "code"]
    return counts == list(range(1, len(counts) + 1))


def test_cleared_outputs_are_seen():
    """As an editor clears them. Where the numbers of the cells stay, the regression test sees it:
    output that the page does not have.
    """
    executed = notebook("a2_setting")
    assert run_in_order(executed.cells)
    for cell in executed.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    assert not run_in_order(executed.cells)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_run_by_the_python_of_the_environment(page):
    """The regression test runs there whatever kernel a page names."""
    assert execute.source_notebook(page).metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("page", PAGES)
def test_every_cell_was_run_in_order_from_a_fresh_kernel(page):
    assert run_in_order(notebook(page).cells)
    assert not [
        o
        for cell in code_cells(page)
        for o in cell.outputs
        if o.output_type == "error" or o.get("name") == "stderr"
    ]


@pytest.mark.parametrize("page", PAGES)
def test_what_is_not_compared_is_asserted(page):
    """A figure is not compared, so its cell must assert something about a variable."""
    for cell in code_cells(page):
        if cell.outputs and not is_compared(cell):
            assert asserted_names(cell.source), (
                f"{cell.id}: only a figure, and no assertion about a variable"
            )


@pytest.mark.parametrize("page", PAGES)
def test_pages_that_draw_use_the_style_of_the_book(page):
    """Importing `flat_or_weak.figures`, directly or through others, applies it."""
    cells = execute.source_notebook(page).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert "plt." not in code or "flat_or_weak.figures" in execute.modules_used(code)


@pytest.mark.parametrize("page", PAGES)
def test_assertions_speak_of_computed_variables(page):
    """No assertion about constants alone."""
    for cell in code_cells(page):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Assert):
                assert {n.id for n in ast.walk(node.test) if isinstance(n, ast.Name)}, (
                    f"{cell.id}: `{ast.unparse(node)}`"
                )


@pytest.mark.parametrize("page", [page for page in PAGES if code_cells(page)])
def test_chapters_run_within_four_gigabytes(page):
    runs = json.loads(execute.STATUS.read_text())
    assert 0 < runs[page]["peak_gb"] < 4


def test_peak_memory_is_that_of_the_largest_process():
    """The cell that measures it, where a child process holds 200 MB and this one much less."""
    child = "import numpy; numpy.ones(25_000_000)"
    start = f"subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    code = f"import subprocess, sys; {start}\n{execute.AFTERWARDS}"
    # a process inherits the peak of the one that starts it: a small one stands between
    between = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
    )
    command = [sys.executable, "-c", between, code]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    peak = json.loads(said)["peak"]
    assert 2e8 < peak < 1e9


@pytest.mark.parametrize("page", [page for page in PAGES if re.match(r"[abc]\d", page)])
def test_chapter_contract(page):
    """Every chapter asserts, warns what it does not show, has exercises with solutions, and names
    its functions.
    """
    text = (BOOK / f"{page}.md").read_text()
    assert any("assert" in cell.source for cell in code_cells(page))
    assert "What this does not show" in text and "**Question" in text
    assert (
        text.count("{exercise") >= 1 and text.count("{solution") >= 1 and ":class: dropdown" in text
    )
    assert "## Functions used" in text


@pytest.mark.parametrize("page", PAGES)
def test_nothing_switches_the_regression_test_off(page):
    for cell in notebook(page).cells:
        tags = set(cell.metadata.get("tags", []))
        assert not tags & {*nbval.plugin.metadata_tags, "skip-execution"}, cell.id
        for word in (*nbval.plugin.comment_markers, "filterwarnings"):
            assert word not in cell.source, cell.id


@pytest.mark.parametrize("page", PAGES)
def test_proofs_keep_their_lists(page):
    """The theme puts its word before the first paragraph of a proof: a list that begins there, or
    inside a paragraph, is run together on the page.
    """
    proofs = re.findall(
        r"^```\{prf:proof\}\n(.*?)^```$", (BOOK / f"{page}.md").read_text(), re.M | re.S
    )
    assert not [proof[:60] for proof in proofs if re.match(r"\d\. |- ", proof)]
    assert not [proof[:60] for proof in proofs if re.search(r"(?<=[.:]) 1\. [A-Z$]", proof)]


@pytest.mark.parametrize("page", PAGES)
def test_code_cells_are_short(page):
    long = {
        cell.id: len(cell.source.splitlines())
        for cell in code_cells(page)
        if len(cell.source.splitlines()) > 25
    }
    assert not long


# The chapters of Part I have wider lines.
NARROW = [page for page in PAGES if not re.match(r"a\d", page)]


@pytest.mark.parametrize("page", NARROW)
def test_code_cells_are_narrow(page):
    """No line scrolls sideways beside the contents of a page."""
    cells = execute.source_notebook(page).cells
    lines = [line for c in cells if c.cell_type == "code" for line in c.source.splitlines()]
    assert not [line for line in lines if len(line) > 90]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `flatness` with one room and one module, in place of ours."""
    monkeypatch.setattr(execute, "SOURCE", tmp_path)
    room = tmp_path / "flatness" / "room"
    room.mkdir(parents=True)
    (tmp_path / "flatness" / "__init__.py").write_text("")
    (room / "__init__.py").write_text("from flatness.room.mod import f\n")
    (room / "mod.py").write_text("def f(): return 1\n")
    (room / "other.py").write_text("g = 1\n")
    execute._imports.cache_clear()
    yield room
    execute._imports.cache_clear()


@pytest.mark.parametrize(
    "line",
    ["from flatness.room import mod", "from flatness.room import f", "import flatness.room.mod"],
)
def test_fingerprint_sees_code_but_not_docstrings_nor_other_modules(package, line):
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(line)])
    prints = []
    for text in ('"""A."""\nx = 1\n', '"""B."""\nx = 1  # comment\n', '"""B."""\nx = 2\n'):
        (package / "mod.py").write_text(text)
        (package / "other.py").write_text(f"g = {len(prints)}")
        prints.append(execute.fingerprint(page))
    assert prints[0] == prints[1] != prints[2]


def test_fingerprint_sees_the_records_that_were_read_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    (tmp_path / "requirements.txt").write_text("torch==1\n# book\n")
    (tmp_path / "results").mkdir()
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("math.factorial(3)")])
    prints = []
    for value, other in ((1, 1), (1, 2), (2, 2)):
        (tmp_path / "results" / "splits.json").write_text(str(value))
        (tmp_path / "results" / "factorial.json").write_text(str(other))
        prints.append(execute.fingerprint(page, ["splits"]))
    assert prints[0] == prints[1] != prints[2]
    assert execute.fingerprint(page) == execute.fingerprint(page)


def test_fingerprint_sees_the_embedded_images_where_they_can_be_read(package):
    data = package.parent / "datasets" / "data"
    data.mkdir(parents=True)
    (data.parent / "pools.py").write_text("def load_pool(name): ...\n")
    reads, does_not = (
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(line)])
        for line in ("from flatness.datasets import pools", "from flatness.room import mod")
    )
    prints = []
    for content in (b"one", b"other"):
        (data / "mnist.npz").write_bytes(content)
        prints.append((execute.fingerprint(reads), execute.fingerprint(does_not)))
    assert prints[0][0] != prints[1][0] and prints[0][1] == prints[1][1]


def test_fingerprint_is_the_same_in_every_version_of_python(tmp_path):
    """From 3.12 on functions have type parameters, and from 3.13 on ``ast.dump`` leaves out empty
    lists.
    """
    module = tmp_path / "mod.py"
    module.write_text('def f(x, *, y=None):\n    """Doc."""\n    return f"{x:.2f}"\n')
    assert execute._bare_code(module.read_text()) == (
        "Module(body=[FunctionDef(name='f', args=arguments(posonlyargs=[], args=[arg(arg='x')], "
        "kwonlyargs=[arg(arg='y')], kw_defaults=[Constant(value=None)], defaults=[]), "
        "body=[Return(value=JoinedStr(values=[FormattedValue(value=Name(id='x', ctx=Load()), "
        "conversion=-1, format_spec=JoinedStr(values=[Constant(value='.2f')]))]))], "
        "decorator_list=[])], type_ignores=[])"
    )


def test_modules_used_follows_imports():
    used = execute.modules_used("from flat_or_weak.studies import pair_proxy")
    assert {
        "flat_or_weak.studies.pair_proxy",
        "flatness.feasibility.pairs",
        "flatness.feasibility.certificates",
        "flatness.datasets.images",
    } <= set(used)
    assert "flatness.weakness.languages" not in used
