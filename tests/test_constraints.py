"""constraints.txt says what is installed, all of it, and nothing else."""

import importlib.metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kit.paths import ROOT

HELD = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.parametrize("requirement", HELD, ids=lambda requirement: requirement.name)
def test_what_is_held_is_installed(requirement):
    assert requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True)


def needed(name: str, extras: frozenset[str], seen: set[tuple[str, str]]) -> set[str]:
    """Every distribution that one needs with these extras, itself included."""
    names: set[str] = {canonicalize_name(name)}
    for text in importlib.metadata.requires(name) or []:
        requirement = Requirement(text)
        applies = [
            extra
            for extra in (extras or {""})
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        ]
        for extra in requirement.extras or {""}:
            if applies and (requirement.name, extra) not in seen:
                seen.add((requirement.name, extra))
                names |= needed(requirement.name, frozenset(requirement.extras), seen)
    return names


def test_all_that_the_project_needs_is_held():
    held = {canonicalize_name(requirement.name) for requirement in HELD}
    assert needed("rnnserve", frozenset({"dev"}), set()) - {"rnnserve", "setuptools"} <= held


def test_torch_is_a_range():
    torch = next(requirement for requirement in HELD if requirement.name == "torch")
    assert {specifier.operator for specifier in torch.specifier} == {">="}
