"""constraints.txt says what is installed, all of it, and nothing else."""

import importlib.metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kit.paths import ROOT

LINES = (ROOT / "constraints.txt").read_text().splitlines()
HELD = [Requirement(line) for line in LINES if line and not line.startswith("#")]


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


def test_constraints_match_the_installed_packages_and_all_requirements():
    for requirement in HELD:
        installed = importlib.metadata.version(requirement.name)
        assert requirement.specifier.contains(installed, prereleases=True), requirement
    held = {canonicalize_name(requirement.name) for requirement in HELD}
    assert needed("rnnserve", frozenset({"dev"}), set()) - {"rnnserve", "setuptools"} <= held
    torch = next(requirement for requirement in HELD if requirement.name == "torch")
    assert {specifier.operator for specifier in torch.specifier} == {">="}
