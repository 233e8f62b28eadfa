"""The record of mutation testing: enough noticed in every module, a reason for everything that was not."""

import json

import pytest
from mutation import CLASSES, RECORD, ROOT, checked_below, survivor, with_reasons

MODULES = json.loads(RECORD.read_text()) if RECORD.exists() else {}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_four_in_five_mutants_are_noticed_and_the_others_have_a_reason(module):
    found = MODULES[module]
    assert found["killed"] + found["timeouts"] + found["survived"] == found["mutants"] >= 20
    assert found["rate"] == round(1 - found["survived"] / found["mutants"], 4) >= 0.8
    assert len(found["survivors"]) == found["survived"] and all((ROOT / path).is_file() for path in found["tests"])
    for mutant in found["survivors"]:
        assert mutant["class"] in CLASSES and mutant["reason"], mutant
        assert mutant["original"] != mutant["mutated"]


SOURCE = '''"""A module."""


class Box:
    def side(self, x):
        """Its length."""
        y = abs(x)
        y = abs(x)
        return y
'''

DIFF = """--- src/box.py
+++ src/box.py
@@ -2,4 +2,4 @@
     \"\"\"Its length.\"\"\"
     y = abs(x)
-    y = abs(x)
+    y = abs(None)
     return y"""


def test_a_survivor_is_found_in_the_source():
    found = survivor("src/box.py", SOURCE, "box.xǁBoxǁside__mutmut_3", DIFF)
    assert found == {"line": "src/box.py:8", "function": "Box.side", "original": "y = abs(x)", "mutated": "y = abs(None)"}


def test_reasons_stay_with_their_change():
    change = {"line": "a.py:3", "function": "f", "original": "x < 1", "mutated": "x <= 1"}
    former = {"survivors": [change | {"class": "equivalent", "reason": "x is odd"}]}
    moved = change | {"line": "a.py:7"}
    found = with_reasons({"survivors": [dict(moved), dict(moved), moved | {"mutated": "x < 2"}]}, former)["survivors"]
    assert [new["reason"] for new in found] == ["x is odd", None, None] and found[0]["line"] == "a.py:7"


CHECKED = """from flatness.checks import checked
from flatness.rules import above


@checked(x=above(0),
         y=above(1))
def ratio(x: float, y: float) -> float:
    return x / y


class Box:
    @checked()
    def side(self, x: float) -> float:
        return x

    @property
    def one(self):
        return 1
"""


def test_argument_checks_move_below_their_function_and_still_check():
    moved = checked_below(CHECKED)
    assert len(moved.splitlines()) == len(CHECKED.splitlines()) and "@checked" not in moved and "@property" in moved
    namespace = {}
    exec(moved, namespace)
    assert namespace["ratio"](6.0, 2.0) == 3 and namespace["Box"]().one == 1
    with pytest.raises(ValueError, match="^y: expected"):
        namespace["ratio"](6.0, 0.5)
    with pytest.raises(TypeError, match="^x: expected a number"):
        namespace["Box"]().side("long")
