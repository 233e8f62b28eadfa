"""Break an input on purpose: a chapter must fail. This rules out chapters whose checks are
tautologies.

For every chapter one input at least: a record with a column turned or shuffled, a function of the
package that gives another number, a slip of the pen in its source. The chapter is cut back to the
statements that the named assertion rests on (`broken_inputs.leading_to`), which must stop it.
"""

from __future__ import annotations

import re

import pytest
from broken_inputs import (
    ROOT,
    broken_record,
    broken_source,
    cells,
    leading_to,
    names,
    run,
    server,
    shuffled,
    times,
    turned,
)

# chapter, record, change of its table, an assertion that must notice
RECORDS = [
    ("b3_invariance_pacbayes", "noise_divergence", turned("test_accuracy"), "(rho.KL < -0.4)"),
    ("b4_vanishing", "vanishing", turned("test_accuracy"), "gaps.loc[gaps.index <= 6000, 'low']"),
    ("b4_vanishing", "vanishing", shuffled("layer2_patterns"), "row.pooled.low"),
    ("b5_regions", "region_selection_fresh", shuffled("test_accuracy"), "ours.bootstrap[0] > 0"),
    ("b6_pair_proxy", "pair_proxy_fashion", shuffled("test_accuracy"), "low < printed < 0 < high"),
    ("c2_head_to_head", "head_to_head", shuffled("adaptive_trace"), "'pair_proxy'} <= set(both)"),
    ("c2_head_to_head", "head_to_head", shuffled("effective_rank"), "together.low"),
    ("c3_confounds", "splits", turned("test_accuracy"), "answers.loc['pair proxy correlates"),
    ("c3_confounds", "splits", shuffled("train_loss"), "loss_trace"),
    ("c3_confounds", "probe_sets", shuffled("pair_proxy_99"), "reliabilities.low"),
    ("c3_confounds", "factorial", turned("test_accuracy"), "batch.high < 0"),
    ("c4_extensions", "full_extension_mnist", shuffled("log_count"), "same.bootstrap[0] > 0.85"),
    ("c5_verdict", "splits", turned("test_accuracy"), "differ == []"),
    ("c7_generality", "generality_tables", turned("test_accuracy"), "claims['pair proxy']"),
    ("c7_generality", "generality_images", shuffled("read_proxy"), "claims['read proxy, wide']"),
    ("c7_generality", "data_dependent_prior", turned("bound"), "claims['bound']"),
    ("a6_nongeneralising", "part1_interpolators", turned("ratio"), "slope > 0.25"),
    ("a7_flattest", "part1_flattest", times("from_teacher", 2.0), "samples.ratio >= 8"),
    ("a8_limits", "part1_flattest", times("loss", 0.01), "low > 0.1 for _, low"),
]
# chapter, (module, function, what it becomes), an assertion that must notice
FUNCTIONS = [
    (
        "a1_question",
        ("flatness.symmetry.orbits", "orbit_minimum", "lambda f: lambda *a: 1.001 * f(*a)"),
        "error < 1e-12",
    ),
    (
        "a2_setting",
        ("flatness.datasets.population", "second_moment", "lambda f: lambda *a: 1.01 * f(*a)"),
        "second_moment(net)",
    ),
    (
        "a5_norm",
        (
            "flatness.interpolators.small_ball_bounds",
            "cover_number",
            "lambda f: lambda *a: 1 + f(*a)",
        ),
        "counted == number for counted",
    ),
    (
        "b2_continuous",
        ("flatness.weakness.tasks", "buffer", "lambda f: lambda *a: ~f(*a)"),
        "right_side[x]",
    ),
    (
        "b7_neighbours",
        (
            "flatness.weakness.version_spaces",
            "version_space",
            "lambda f: lambda H, D: f(H, {x: y for x, y in D.items() if x})",
        ),
        "mismatch['point vocabulary'] == 0",
    ),
    (
        "c1_invariant_flatness",
        (
            "flatness.curvature.diagonal",
            "hessian_diagonal",
            "lambda f: lambda *a, **k: f(*a, **k).map(lambda block: block * (1 + block.mean()))",
        ),
        "abs((deep.value / closed)",
    ),
]
# chapter, module of the package, what is written there, a slip of the pen, an assertion that must
# notice
SLIPS = [
    (
        "a3_trace",
        "networks/two_layer",
        "net.a.square() * slopes",
        "net.a.abs() * slopes",
        "exact_at[name, 'interpolator']",
    ),
    (
        "a3_trace",
        "curvature/output_hessian",
        "q = others.scatter_(-1, c, -rest)",
        "q = others",
        "np.allclose(exact, dense",
    ),
    (
        "a3_trace",
        "curvature/trace",
        "gram = (slope @ pairs.mT)",
        "gram = (torch.ones_like(slope) @ pairs.mT)",
        "np.allclose(exact, dense",
    ),
    (
        "a4_symmetry",
        "symmetry/orbits",
        "return kappa(p) * A ** (1 / (p + 1)) * B ** (p / (p + 1))",
        "return kappa(p) * A ** (p / (p + 1)) * B ** (1 / (p + 1))",
        "max(map(abs, one_by_one)) < 1e-10",
    ),
    (
        "b1_language",
        "weakness/tasks",
        "return superset_sum(t.unseen.astype(np.int64))",
        "return superset_sum(t.reach.astype(np.int64))",
        "holds[policies].all()",
    ),
    (
        "b6_pair_proxy",
        "feasibility/verdicts",
        "self.verdict[probes, labels], self.proven[probes, labels] = FEASIBLE, True",
        "self.verdict[probes, labels], self.proven[probes, labels] = INFEASIBLE, True",
        "verdicts.extensions.tolist()",
    ),
    (
        "b6_pair_proxy",
        "feasibility/verdicts",
        "self.verdict[pair], self.proven[pair] = INFEASIBLE, proven",
        "self.verdict[pair], self.proven[pair] = FEASIBLE, proven",
        "verdicts.extensions.tolist()",
    ),
]
# the others take a second or two each
SLOW = [
    ("b3_invariance_pacbayes", "(rho.KL < -0.4)"),
    ("b4_vanishing", "gaps.loc[gaps.index <= 6000, 'low']"),
    ("c2_head_to_head", "'pair_proxy'} <= set(both)"),
    ("c3_confounds", "answers.loc['pair proxy correlates"),
    ("c4_extensions", "same.bootstrap[0] > 0.85"),
    ("c5_verdict", "differ == []"),
    ("b7_neighbours", "mismatch['point vocabulary'] == 0"),
]


def case(chapter, *rest):
    marks = [pytest.mark.slow] if (chapter, rest[-1]) in SLOW else []
    return pytest.param(chapter, *rest, marks=marks, id=f"{chapter} {rest[-1][:30]}")


@pytest.fixture(scope="module")
def process():
    with server() as started:
        yield started


def stopped_by_a_check(process, chapter, assertion, **broken):
    error, message, piece = run(process, leading_to(chapter, assertion), **broken)
    assert error == "AssertionError", (
        f"{chapter} did not notice: it ended with {error} {message} in {piece!r}"
    )


@pytest.mark.parametrize(("chapter", "record", "change", "assertion"), [case(*c) for c in RECORDS])
def test_a_broken_record_is_noticed(process, tmp_path, chapter, record, change, assertion):
    broken_record(record, change, tmp_path)
    stopped_by_a_check(process, chapter, assertion, results=tmp_path)


@pytest.mark.parametrize(("chapter", "wrapped", "assertion"), [case(*c) for c in FUNCTIONS])
def test_a_broken_function_is_noticed(process, chapter, wrapped, assertion):
    stopped_by_a_check(process, chapter, assertion, wrapped=[wrapped])


@pytest.mark.parametrize(
    ("chapter", "module", "written", "slip", "assertion"), [case(*c) for c in SLIPS]
)
def test_a_slip_of_the_pen_is_noticed(process, tmp_path, chapter, module, written, slip, assertion):
    source = broken_source(module, written, slip, tmp_path)
    stopped_by_a_check(process, chapter, assertion, source=source)


def test_every_chapter_has_an_input_that_is_broken():
    chapters = {p.stem for p in (ROOT / "book").glob("*.md") if re.match(r"[abc]\d_", p.stem)}
    assert chapters - {"c6_interventions"} <= {c[0] for c in RECORDS + FUNCTIONS + SLIPS}


def test_unbroken_the_statements_that_are_left_pass(process):
    """Or a chapter that is cut back too far would always fail."""
    pieces = leading_to("b2_continuous", "right_side[x]")
    assert len(pieces) < sum(cell.count("\n") for cell in cells("b2_continuous"))
    assert run(process, pieces)[0] == "passed"


def test_names_that_a_cell_reads_defines_and_changes():
    read, defined, changed = names(
        "import a.b as c\nx = y + 1\nz.append(x)\nt[0] = [u for u in c]\nf = lambda v: v + w\n"
        "k += 1"
    )
    assert read == {"y", "z", "t", "w", "k"}
    assert defined == {"c", "x", "f", "k"} and changed == {"z", "t"}
