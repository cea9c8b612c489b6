"""The operator grid: onnxruntime's results equal eager's, on values for which translations often go wrong."""

import re

import pytest

from campaigns.operator_grid import FAMILIES
from campaigns.operator_grid.completeness import UNTRIED, translated, tried
from campaigns.operator_grid.empty import DIFFERS_OF_NOTHING
from campaigns.operator_grid.trial import refusal_of, try_family

_REFUSED = [
    pytest.param(operator, family, id=operator.name)
    for family in FAMILIES
    for operator in family.operators
    if operator.refused
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_operators_match_eager_or_are_documented(family):
    found = try_family(family)
    nothing = {name: [line for line in lines if line.startswith("of nothing")] for name, lines in found.items()}
    unlike = {name for of, name in DIFFERS_OF_NOTHING if of == family.name}
    assert {name for name, lines in nothing.items() if lines} == unlike, f"of nothing: see empty.py; {nothing}"
    assert not [line for lines in nothing.values() for line in lines if "ended the process" in line]
    found = {name: [line for line in lines if not line.startswith("of nothing")] for name, lines in found.items()}
    documented = {operator.name for operator in family.operators if operator.differs}
    wrong = {name: lines for name, lines in found.items() if lines and name not in documented}
    assert not wrong, "\n".join(f"{name}: {line}" for name, lines in wrong.items() for line in lines)
    healed = sorted(name for name in documented if not found[name])
    assert not healed, f"these are right on all values now: remove `differs` of {healed}"


@pytest.mark.parametrize(("operator", "family"), _REFUSED)
def test_refusals_contain_a_reason(operator, family):
    message = refusal_of(operator, family)
    assert message, f"{operator.name} is exported: remove `refused`, and see whether it is right"
    # The last one is the verification's, because publishing ends with it.
    assert re.match(
        r"UnsupportedModule|RaisedInCapture|FixedSize|OtherPath|NotRolled|DependsOnValues|BrokenPostcondition|"
        r"RuntimeError: onnxruntime cannot load",
        message,
    )
    assert operator.refused in message


def test_names_of_cases_are_unique():
    for family in FAMILIES:
        names = [operator.name for operator in family.operators]
        assert len(set(names)) == len(names)


def test_grid_covers_all_operators():
    missing = translated() - tried() - UNTRIED.keys()
    assert not missing, f"torch translates {sorted(missing)}: add a line to a family, or a reason to completeness.py"


def test_reasons_for_skipping_name_only_skipped_operators():
    stale = sorted((UNTRIED.keys() & (translated() - tried())) ^ UNTRIED.keys())
    assert not stale, f"torch does not translate {stale}, or the grid tries them: remove the reasons"
