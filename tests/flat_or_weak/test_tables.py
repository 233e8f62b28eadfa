import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flat_or_weak.table_cells import written
from flat_or_weak.tables import PHONE, as_html, typeset
from flatness.statistics.comparisons import Estimate


@pytest.fixture
def frame():
    index = pd.MultiIndex.from_tuples(
        [("mnist", "trace"), ("mnist", "rank"), ("fashion", "trace")], names=["images", "measure"]
    )
    columns = {
        "n": [500, 12000, 60000],
        "rho": [0.374, -0.05, 0.1],
        "low": [0.2, -0.213, 0.0],
        "high": [0.52, 0.11, 0.2],
        "trace": [1.234, np.nan, 100.0],
        "verdict": ["reproduced", "undetermined", "as planned"],
        "seen": [True, False, True],
    }
    return pd.DataFrame(columns, index=index)


def rows(table):
    """The texts of the body's cells, and the whole element."""
    root = ET.fromstring(table._repr_html_())
    return [["".join(cell.itertext()).strip() for cell in row] for row in root.iter("tr")], root


def test_estimate_and_interval_are_one_column(frame):
    table = typeset(frame, "A table.", intervals={"rho": ("low", "high")}, units={"trace": "nats"})
    (head, *body), root = rows(table)
    assert head == ["images", "measure", "n", "rho", "trace nats", "verdict", "seen"]
    assert [row[3] for row in body] == ["+.37 [.20, .52]", "−.05 [−.21, .11]", "+.10 [.00, .20]"]
    assert [row[4] for row in body] == ["1.23", "–", "100.00"]
    assert [row[2] for row in body] == ["500", "12,000", "60,000"]
    assert root.find("caption").text == "A table."


def test_text_is_aligned_and_complete(frame):
    text = repr(typeset(frame, "A table.", intervals={"rho": ("low", "high")}))
    lines = text.splitlines()[2:]
    assert len({line.index("]") for line in lines}) == 1 == len({line.index("[") for line in lines})
    assert "-.05 [-.21, .11]" in text and "? undetermined" in text and "✗ no" in text


def test_verdicts_have_mark_class_and_word(frame):
    table = typeset(frame, "A table.", verdicts={"as planned": "partly"})
    _, root = rows(table)
    kinds = [cell.get("class") for cell in root.iter("td") if cell.get("data-label") == "verdict"]
    assert kinds == ["text verdict holds", "text verdict open", "text verdict partly"]
    marks = [mark.text for mark in root.iter("span") if mark.get("class") == "mark"]
    assert marks == ["✓", "✓", "?", "✗", "≈", "✓"]


def test_repeated_row_headers_stay_in_the_file(frame):
    _, root = rows(typeset(frame, "A table."))
    heads = [cell for cell in root.iter("th") if cell.get("data-label") == "images"]
    assert [cell.get("data-csv") for cell in heads] == ["mnist", "mnist", "fashion"]
    assert [cell.find("span") is not None for cell in heads] == [False, True, False]


def test_csv_parts_are_numbers(frame):
    table = typeset(frame, "A table.", intervals={"rho": ("low", "high")})
    _, root = rows(table)
    parts = [c.get("data-csv") for c in root.iter("td") if c.get("data-label") == "rho"]
    assert parts == ["0.37|0.20|0.52", "-0.05|-0.21|0.11", "0.10|0.00|0.20"]
    counts = [c.get("data-csv") for c in root.iter("td") if c.get("data-label") == "n"]
    assert counts == ["500", "12000", "60000"]


def test_wide_tables_stack_on_a_phone_and_narrow_ones_do_not(frame):
    _, wide = rows(typeset(frame, "A table."))
    _, narrow = rows(typeset(frame[["n"]], "A table."))
    assert wide.get("class") == "typeset stacks" and narrow.get("class") == "typeset"
    assert PHONE > 30


def test_points_keep_their_zero_and_digits_are_by_column():
    table = typeset(
        pd.DataFrame({"gap": [Estimate(0.5, -1.2, 2.2)], "p": [0.00012], "share": [0.256]}),
        "A table.",
        digits={"gap": 1, "p": ".1g", "share": ".0%"},
        index=False,
    )
    assert rows(table)[0][1] == ["+0.5 [−1.2, 2.2]", "0.0001", "26%"]


def test_same_html_twice_and_markup_is_escaped():
    frame = pd.DataFrame({"a < b": ["<b>"]})
    first, again = (typeset(frame, "x & y")._repr_html_() for _ in range(2))
    assert first == again and "<b>" not in first and "x &amp; y" in first


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("units", {"none": "m"}),
        ("digits", {"none": 3}),
        ("intervals", {"n": ("low", "none")}),
        ("verdicts", {"x": "green"}),
    ],
)
def test_what_is_not_there_is_refused(frame, argument, value):
    with pytest.raises(ValueError, match=argument):
        typeset(frame, "A table.", **{argument: value})


def test_caption_is_needed(frame):
    with pytest.raises(ValueError, match="caption"):
        typeset(frame, " ")


@given(st.floats(-1e6, 1e6), st.integers(0, 4))
def test_written_numbers_read_back(value, digits):
    text = written(value, digits)
    assert abs(float(text.replace(",", "")) - value) <= 0.5 * 10**-digits + 1e-9
    assert not text.startswith("-") or float(text.replace(",", "")) < 0


@given(st.floats(-1, 1))
def test_bare_numbers_read_back(value):
    text = written(value, 2, signed=True, bare=True)
    assert text[0] in "+-" and abs(float(text) - value) <= 0.005 + 1e-9
    assert text.lstrip("+-").startswith(("1.", "."))


def shown_once(page):
    """The header cells that are hidden because they are those of the row above."""
    return re.findall(r'<span class="again">(.*?)</span>', page)


def test_a_header_is_hidden_only_under_the_same_one():
    """Two levels of three are the same, then the second is another under the same first."""
    index = [("x", 1, "a"), ("x", 1, "b"), ("x", 2, "a"), ("y", 2, "a")]
    frame = pd.DataFrame({"v": range(4)}, index=pd.MultiIndex.from_tuples(index))
    assert shown_once(as_html(typeset(frame, "Three levels."))) == ["x", "1", "x"]


@pytest.mark.parametrize("value, kind", [(1.5, "typeset snug"), (123456789.5, "typeset stacks")])
def test_many_short_numbers_stay_a_table_on_a_phone(value, kind):
    frame = pd.DataFrame(value, index=["a long name of a row"], columns=range(5))
    assert f'class="{kind}"' in as_html(typeset(frame, "Five."))
