"""The limits that a manifest records: the table's, wider only where rounding was found to move values further."""

import ast

import pytest

from kit.paths import ROOT
from rnnserve.export.parity.tolerances import limits_for, replay_limits

ULP = 2.0**-23
FIELDS = ("step_state", "step_logits", "walk_logits", "sequence_rms_factor", "sequence_rms_floor", "sequence_largest")


def given(**found):
    return {at.device: [getattr(at, field) for field in FIELDS] for at in replay_limits(**found)}


def close(numbers):
    return pytest.approx(numbers, rel=1e-6)


def test_what_a_manifest_says_of_narrow_layers():
    assert given() == {
        "cpu": close([32 * ULP, 32 * ULP, 4e-6, 4, 4 * ULP, 4e-6]),
        "cuda": close([64 * ULP, 64 * ULP, 8e-6, 8, 8 * ULP, 8e-6]),
    }
    assert given() == given(step=7.9 * ULP, sequence=0.9e-6)


def test_four_times_what_rounding_was_found_to_do_is_allowed():
    assert given(step=16 * ULP) == {
        "cpu": close([64 * ULP, 64 * ULP, 4e-6, 4, 4 * ULP, 4e-6]),
        "cuda": close([128 * ULP, 128 * ULP, 8e-6, 8, 8 * ULP, 8e-6]),
    }
    assert given(sequence=3e-6) == {
        "cpu": close([32 * ULP, 32 * ULP, 4e-6, 4, 12 * ULP, 12e-6]),
        "cuda": close([64 * ULP, 64 * ULP, 8e-6, 8, 24 * ULP, 24e-6]),
    }


def test_a_device_without_limits_is_an_error():
    with pytest.raises(KeyError, match="tpu"):
        limits_for("tpu")


EXPORT = ROOT / "export" / "rnnserve" / "export"


def is_small(node):
    """Whether a part of an expression is a small number, or a power with a negative exponent, as of an ulp."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Pow) and isinstance(node.right, ast.UnaryOp)
    return isinstance(node, ast.Constant) and isinstance(node.value, float) and 0 < node.value < 1e-3


def has_small_constants(path):
    assigned = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign | ast.AnnAssign)]
    return any(is_small(part) for node in assigned if node.value for part in ast.walk(node.value))


ELSEWHERE = {
    "description/omitted_inputs.py": "two calls of one module are compared, before there is anything to prove",
    "description/lenient_module.py": "two calls of one module are compared, before there is anything to prove",
    "recurrence/other_paths.py": "two paths of a module are compared, before there is anything to prove",
    "old_translations.py": "what the pattern matcher of another library takes for 0 and for 1",
}
"""Files with small constants that are no tolerance of a proof, by what they are."""


def test_tolerances_are_in_one_file():
    found = {path.relative_to(EXPORT).as_posix() for path in EXPORT.rglob("*.py") if has_small_constants(path)}
    assert found == {"parity/tolerances.py", *ELSEWHERE}
