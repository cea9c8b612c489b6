"""The table of rules, by operator."""

from collections.abc import Callable, Iterable

from rnnserve.export.dataflow.node import Node
from rnnserve.export.dataflow.values import Value

__all__ = ["RULES", "Rule", "rule"]

Rule = Callable[[Node], "Value | list[Value]"]
"""Give what is known of a node's results: of the first one, or of each. `NotCovered` leaves it undecided."""

RULES: dict[str, Rule] = {}


def rule(operators: str | Iterable[str]) -> Callable[[Rule], Rule]:
    """Register the rule of operators of ONNX's own domain.

    Args:
        operators: Names of the operators; in one string, separated by spaces.
    """

    def register(function: Rule) -> Rule:
        for operator in operators.split() if isinstance(operators, str) else operators:
            if RULES.setdefault(operator, function) is not function:
                raise ValueError(f"there are two rules of {operator}")
        return function

    return register
