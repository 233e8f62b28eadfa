"""What the regression test says about a chapter: after nbval's report, a sentence for every cell
that failed. Its kernels come from `warm_kernels`.
"""

import ast
import base64
import io
import re

import matplotlib.image
import numpy as np
import pytest
import warm_kernels
from nbval.plugin import IPyNbCell

warm_kernels.install()

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)
FENCED = re.compile(r"^(`{3,}|:{3,}).*?^\1\s*$", re.MULTILINE | re.DOTALL)


def headings(cells):
    """Headings of the text cells, from the chapter's title on."""
    prose = [FENCED.sub("", cell.source) for cell in cells if cell.cell_type == "markdown"]
    return [title for text in prose for title in HEADING.findall(text)]


def shortened(text, length=200):
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 3] + "..."


def what_the_cell_is(source):
    """Its first comment, or its first assertion, or its first line."""
    comments = re.findall(r"^\s*# *(.+)$", source, re.MULTILINE)
    claims = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
    asserted = [ast.get_source_segment(source, node) for node in claims]
    return shortened((comments or asserted or source.splitlines())[0], 100)


def statement_at(source, line):
    """Source of the innermost statement of a cell that has this line."""
    statements = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    around = [node for node in statements if node.lineno <= line <= node.end_lineno]
    innermost = max(around, key=lambda node: (node.lineno, -node.end_lineno), default=None)
    return ast.get_source_segment(source, innermost) if innermost else source


def about_error(source, error):
    """What an exception in the cell means; the line is that of the cell's own frame, the outermost
    one.
    """
    traceback = COLOUR.sub("", "\n".join(error["traceback"]))
    lines = re.search(r"Cell In\[\d+\], line (\d+)", traceback)
    statement = statement_at(source, int(lines[1])) if lines else source.strip().split("\n")[0]
    message = COLOUR.sub("", error["evalue"])
    if error["ename"] == "AssertionError" and statement.startswith("assert"):
        return f"the claim `{shortened(statement)}` does not hold" + (
            f": {shortened(message)}" if message else ""
        )
    return f"`{shortened(statement)}` raised {error['ename']}: {shortened(message)}"


def texts(outputs):
    """What the outputs show, by kind: stdout, text/plain, ..."""
    found = {}
    for output in outputs:
        data = (
            {output["name"]: output["text"]}
            if output["output_type"] == "stream"
            else output.get("data", {})
        )
        for kind, text in data.items():
            found[kind] = found.get(kind, "") + (text if isinstance(text, str) else str(text))
    return found


def about_difference(page, now):
    """The first thing that two lists of outputs show differently, plain text before other kinds."""
    page, now = texts(page), texts(now)
    plain = {"stdout": 0, "text/plain": 1, "stderr": 2}
    for kind in sorted(page.keys() | now.keys(), key=lambda kind: (plain.get(kind, 3), kind)):
        if kind not in page:
            what = "a warning" if kind == "stderr" else f"output of kind {kind}"
            return f"{what} that the page does not have: {shortened(now[kind])}"
        if kind not in now:
            return f"no output of kind {kind}, where the page has {shortened(page[kind], 100)}"
        if page[kind] != now[kind] and not kind.startswith(("image/png", "image/jpeg", *VECTORS)):
            expected, got = page[kind].splitlines(), now[kind].splitlines()
            for line, (old, new) in enumerate(zip(expected, got, strict=False), start=1):
                if old != new:
                    return (
                        f"line {line} of the output differs\n"
                        f"      the page shows  {shortened(old)}\n"
                        f"      now it is       {shortened(new)}"
                    )
            return f"{len(got)} line(s) of output, where the page shows {len(expected)}"
    return "the output differs"


def pictures(outputs):
    """The pictures that the outputs show, as arrays of heights x widths x colours."""
    encoded = [output.get("data", {}).get("image/png") for output in outputs]
    return [
        matplotlib.image.imread(io.BytesIO(base64.b64decode(code)), "png")[..., :3]
        for code in encoded
        if code
    ]


def alike(page, now, side=8, tolerance=0.25, margin=2):
    """Whether two pictures are the same but for the rendering of edges and letters: no square of
    ``side`` pixels differs in its mean colour by more than ``tolerance`` of the whole range.
    """
    height, width = np.minimum(page.shape[:2], now.shape[:2])
    if np.abs(np.subtract(page.shape[:2], now.shape[:2])).max() > margin:
        return False
    rows, columns = height // side, width // side
    gap = (page[:height, :width] - now[:height, :width])[: rows * side, : columns * side]
    means = gap.reshape(rows, side, columns, side, -1).mean((1, 3))
    return bool(np.abs(means).max(initial=0) <= tolerance)


VECTORS = ("image/svg+xml", "application/pdf")


def vectors(outputs):
    """The kinds of vector pictures that the outputs hold."""
    return [kind for output in outputs for kind in VECTORS if kind in output.get("data", {})]


def words(outputs):
    """What stands written in the vector pictures: matplotlib notes every text beside its shapes."""
    drawings = [output.get("data", {}).get("image/svg+xml", "") for output in outputs]
    return [re.findall(r"<!-- (.*?) -->", text, re.DOTALL) for text in drawings if text]


def about_pictures(page, now):
    """What is wrong with the pictures of a page beside those of a fresh run; None if nothing is.

    The PNG is compared by its pixels. The SVG and the PDF are the same figure in numbers that
    depend on the processor in their last digits: they must be there, and say the same words.
    """
    old, new = pictures(page), pictures(now)
    if len(old) != len(new):
        return f"{len(new)} picture(s), where the page has {len(old)}"
    if vectors(page) != vectors(now):
        return "a picture for printing is missing, or new"
    if words(page) != words(now):
        return "the words in a picture differ"
    pairs = enumerate(zip(old, new, strict=True), start=1)
    return next((f"picture {n} is another one" for n, (a, b) in pairs if not alike(a, b)), None)


compare_all_but_pictures = IPyNbCell.compare_outputs


def compare_outputs(self, test, ref, skip_compare=None):
    """As nbval compares, and the pictures, which it leaves out."""
    skipped = (*(skip_compare or self.parent.skip_compare), *VECTORS)
    same = compare_all_but_pictures(self, test, ref, skipped)
    return same and about_pictures(ref, test) is None


IPyNbCell.compare_outputs = compare_outputs


def account(item, error):
    """Where the failed cell stands and what is wrong with it."""
    cells, now = item.parent.nb.cells, item.test_outputs or []
    here = next(index for index, cell in enumerate(cells) if cell is item.cell)
    raised = [output for output in now if output["output_type"] == "error"]
    if raised:
        problem = about_error(item.cell.source, raised[-1])
    elif str(error) == "Cell outputs differ":
        pages = item.cell.outputs
        problem = about_pictures(pages, now) or about_difference(pages, now)
    else:
        problem = shortened(str(error))
    follows = bool(raised) and raised[-1]["ename"] == "NameError"
    above = headings(cells[:here])
    return {
        "chapter": item.path.stem,
        "title": (headings(cells) or [item.path.stem])[0],
        "cell": item.cell_num,
        "section": above[-1] if above[1:] else "",
        "is": what_the_cell_is(item.cell.source),
        "problem": problem,
        "follows": follows,
    }


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed and report.when == "call" and hasattr(item, "cell_num"):
        report.user_properties.append(("failed cell", account(item, call.excinfo.value)))
    return report


def sentences(accounts):
    """The accounts of one chapter as lines of text; cells that only miss a name from a failed one
    are counted.
    """
    first, missing = accounts[0], [one for one in accounts[1:] if one["follows"]]
    yield f"{first['title']} (book/{first['chapter']}.md)"
    for one in accounts:
        if one not in missing:
            place = f'under "{one["section"]}"' if one["section"] else "before the first section"
            yield f"  Cell {one['cell']}, {place}, {one['is']!r}:"
            yield f"    {one['problem']}"
    if missing:
        numbers = ", ".join(str(one["cell"]) for one in missing)
        yield (
            f"  {len(missing)} more failed for want of a name that an earlier cell should have "
            f"defined: {numbers}"
        )
    yield f"  Again, this chapter only:  make test CHAPTER={first['chapter']}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter):
    result = yield
    chapters = {}
    for report in terminalreporter.stats.get("failed", []):
        for name, value in getattr(report, "user_properties", []):
            if name == "failed cell":
                chapters.setdefault(value["chapter"], []).append(value)
    if chapters:
        terminalreporter.section("what failed in the chapters")
        for chapter in sorted(chapters):
            for line in sentences(sorted(chapters[chapter], key=lambda one: one["cell"])):
                terminalreporter.write_line(line)
    return result
