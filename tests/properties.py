"""How long the tests of a property take: a quick look by default, the whole of it in `make verify`.

With LONG_PROPERTIES=1 in the environment a property is tried on all its examples, otherwise on a
tenth of them, eight at least. A simulation has a short size, which always runs, and a long one that
is `slow`.
"""

import os

import pytest

LONG = bool(os.environ.get("LONG_PROPERTIES"))


def examples(number: int) -> int:
    """How many examples to try of ``number``."""
    return number if LONG else min(max(number // 10, 8), 50)


def short_and_long(name: str, short: object, long: object) -> pytest.MarkDecorator:
    """The test with the argument ``name`` at its short size, and at its long one where `slow`
    tests run.
    """
    return pytest.mark.parametrize(
        name, [short, pytest.param(long, marks=pytest.mark.slow)], ids=["short", "long"]
    )
