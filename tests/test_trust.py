"""What the project may be trusted with: nothing pickled is loaded, damaged records are refused,
versions are locked.
"""

import ast
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from flat_or_weak.records import Record, RecordError, load_record

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    *sorted((ROOT / "src").rglob("*.py")),
    *sorted((ROOT / "benchmarks").rglob("*.py")),
    ROOT / "book" / "execute.py",
]
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


# ---- nothing is loaded that can run code


def unsafe_calls(code):
    """Lines that load pickles, evaluate text, or unpack an archive under the names it carries."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
            found += [
                f"{node.lineno}: imports {name}"
                for name in names
                if name.split(".")[0] in UNSAFE_MODULES
            ]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if (
                called == "torch.load"
                and options.get("weights_only") != "True"
                or called in ("np.load", "numpy.load")
                and options.get("allow_pickle", "False") != "False"
                or called.endswith(("read_pickle", ".extractall", "unpack_archive"))
                or called in ("eval", "exec")
                or options.get("shell") == "True"
            ):
                found.append(f"{node.lineno}: {called}")
    return found


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f, allow_pickle=True)",
        "tar.extractall(d)",
        "eval(x)",
        "subprocess.run(c, shell=True)",
    ],
)
def test_unsafe_code_is_seen(code):
    assert unsafe_calls(code)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unsafe_is_called(path):
    assert unsafe_calls(path.read_text(encoding="utf-8")) == []


# ---- records: ten thousand damaged ones

VALID = {
    "name": "small",
    "config": {"n": 3, "seeds": [0, 1]},
    "table": {"seed": [0, 1], "loss": [0.5, 0.25]},
    "summary": {"mean": 0.375},
    "provenance": {"date": "2026-01-01", "data": {}},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)

EXAMPLES = examples(5000)


def outcome(folder, content):
    """Write bytes as a record, read it with and without a configuration: a valid record, or
    RecordError, nothing else.
    """
    path = folder / "small.json"
    path.write_bytes(content)
    for config in (None, VALID["config"]):
        try:
            record = load_record("small", config, folder)
        except RecordError as error:
            assert str(path) in str(error)
        else:
            stored = json.loads(content)
            assert (
                isinstance(record, Record)
                and isinstance(record.name, str)
                and len({len(c) for c in stored["table"].values()}) <= 1
            )
            assert list(record.table.columns) == list(stored["table"])
            for column, values in stored["table"].items():  # never other numbers than the file's
                assert all(
                    new == old or old is None or new != new
                    for new, old in zip(record.table[column].tolist(), values, strict=True)
                )
            assert config is None or record.config == config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("records")


@settings(max_examples=EXAMPLES)
@given(
    place=st.sampled_from(
        [(key,) for key in VALID]
        + [("config", "n"), ("table", "seed"), ("table", "loss"), ("provenance", "data")]
    ),
    value=JSON,
    delete=st.booleans(),
)
def test_record_with_one_entry_replaced(folder, place, value, delete):
    content = json.loads(json.dumps(VALID))
    *outer, last = place
    inner = content
    for key in outer:
        inner = inner[key]
    if delete:
        del inner[last]
    else:
        inner[last] = value
    outcome(folder, json.dumps(content).encode())


@settings(max_examples=EXAMPLES)
@given(start=st.integers(0, 200), length=st.integers(0, 20), instead=st.binary(max_size=12))
def test_record_with_a_piece_cut_out(folder, start, length, instead):
    text = json.dumps(VALID).encode()
    outcome(folder, text[:start] + instead + text[start + length :])


@settings(max_examples=examples(500))
@given(content=JSON)
def test_record_that_is_any_json(folder, content):
    outcome(folder, json.dumps(content).encode())


@pytest.mark.parametrize(
    "content",
    [b"", b"[" * 100_000, b'{"name": ' + b"9" * 5000 + b"}", b"\xff\xfe", b"null", b"NaN"],
)
def test_record_that_is_hostile(folder, content):
    (folder / "small.json").write_bytes(content)
    with pytest.raises(RecordError, match="not a record"):
        load_record("small", folder=folder)


# ---- dependencies


def pins(name):
    """Package -> version of the lines ``package==version`` of a requirements file, names
    normalised.
    """
    lines = re.findall(
        r"^([A-Za-z0-9_.\-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", (ROOT / name).read_text(), re.M
    )
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in lines}


@pytest.mark.parametrize(
    "name, packages",
    [("requirements", 100), ("requirements-browser", 3), ("requirements-mutation", 10)],
)
def test_lock_file_belongs_to_the_requirements(name, packages):
    """Every required version is the locked one, every locked package has hashes, and the optional
    ones go with the rest.
    """
    wanted, locked = pins(f"{name}.txt"), pins(f"{name}.lock")
    assert wanted and wanted.items() <= locked.items()
    every = pins("requirements.lock")
    assert all(every.get(package, version) == version for package, version in locked.items())
    blocks = re.split(
        r"^(?=[A-Za-z0-9])",
        re.sub(r"^#.*\n|\\\n", "", (ROOT / f"{name}.lock").read_text(), flags=re.M),
        flags=re.M,
    )
    assert len(blocks) > packages and all(
        re.match(r"\S+==", block) and "--hash=sha256:" in block for block in blocks[1:]
    )


@pytest.mark.parametrize("target", ["browser", "mutation"])
def test_optional_packages_are_installed_by_their_hashes(target):
    recipe = (ROOT / "Makefile").read_text()
    assert f"@$(LOCKED) requirements-{target}.lock" in recipe
    assert re.search(r"^LOCKED := .* --require-hashes -r$", recipe, re.M)


@pytest.mark.parametrize(
    "name",
    [
        "requirements.txt",
        "requirements.lock",
        "requirements-browser.txt",
        "requirements-browser.lock",
        "requirements-mutation.txt",
        "requirements-mutation.lock",
        "pyproject.toml",
        "Dockerfile",
        "Makefile",
        "tools/environment.py",
    ],
)
def test_installation_follows_the_users_own_index(name):
    text = (ROOT / name).read_text()
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|--trusted-host", text)
