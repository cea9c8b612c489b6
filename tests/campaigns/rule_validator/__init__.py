"""The rule validator: whether each rule of the graph analysis holds when its operator runs.

`cases` draws small graphs of an operator from its schema in `onnx.defs`: views of the input in any order of axes,
attributes, optional inputs, negative axes. It also draws loops and branches, with bodies of a few operators. `trial`
compares what the analysis claims of a graph with runs of it, whole and in parts.

`make rules` tries every operator, and prints wrong rules, weak ones and missing ones.
"""

from campaigns.rule_validator.cases import operators
from campaigns.rule_validator.trial import Report, try_operator

__all__ = ["Report", "operators", "try_operator"]
