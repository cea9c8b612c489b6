"""The operators in docs/reference/compatibility.md, from the entries of the grid. The tests check each entry."""

import re
from collections.abc import Iterable, Iterator

from campaigns.operator_grid.empty import DIFFERS_OF_NOTHING
from campaigns.operator_grid.families import FAMILIES
from campaigns.operator_grid.operators import KERNELS, Family, Operator


def document() -> Iterator[str]:
    """Yield right operators by family, each once without arguments, then differences, empty tensors and refusals."""
    operators = [(family, operator) for family in FAMILIES for operator in family.operators]
    refused = sum(bool(operator.refused) for _, operator in operators)
    kernels = "; ".join(f"{name}, {within:g} ({why})" for name, (within, why) in KERNELS.items())
    yield f"{len(operators) - refused} entries are tried, {refused} are refused. Errors are absolute in: {kernels}\n"
    yield "| inputs | right |\n| --- | --- |"
    listed: set[str] = set()
    for family in FAMILIES:
        right = [operator.name for operator in family.operators if not operator.refused and not operator.differs]
        names = [re.sub(r"^([\w.]+)\(.*\)$", r"\1", name) for name in right]
        new = [name for name in dict.fromkeys(names) if name not in listed and re.fullmatch(r"[\w.]+", name)]
        listed.update(new)
        if new:
            yield f"| {_short(family.name)} | {', '.join(f'`{_escaped(name)}`' for name in new)} |"
    yield "\n| differs | for these values |\n| --- | --- |"
    yield from _grouped((family, one, one.differs) for family, one in operators if one.differs)
    yield "\n| for empty tensors | result |\n| --- | --- |"
    yield from _grouped((of, one, DIFFERS_OF_NOTHING.get((of.name, one.name), "")) for of, one in operators)
    yield "\n| refused | the message contains |\n| --- | --- |"
    yield from _grouped((family, one, f"“{one.refused}”" if one.refused else "") for family, one in operators)


def _grouped(entries: Iterable[tuple[Family, Operator, str]]) -> Iterator[str]:
    """Yield a row for each text with its operators, and their family if they are also right in another one."""
    found: dict[str, dict[str, None]] = {}
    for family, operator, text in entries:
        if text:
            of = {_short(each.name) for each in FAMILIES for one in each.operators if _is_like(one, operator)}
            name = f"`{_escaped(operator.name)}`" + (f" ({_short(family.name)})" if len(of) > 1 else "")
            found.setdefault(text, {})[name] = None
    for text, names in found.items():
        yield f"| {', '.join(names)} | {_escaped(text)} |"


def _is_like(one: Operator, other: Operator) -> bool:
    return one.name == other.name and (one is other or not one.refused)


def _short(family: str) -> str:
    """Return a family's name without its explanations."""
    for mark in (", ", " (", ":", " of "):
        family = family.partition(mark)[0]
    return family.lower()


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
