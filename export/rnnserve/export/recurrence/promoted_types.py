"""Casts that torch.onnx inserts where types are mixed, without running the whole program again for them.

`torch.onnx.export` looks at each node of a program: where an operator mixes types, it casts them. It runs each node for
that, on tensors without values, and uses the results only for the types of those after it. But the program holds these
results already: a node that gets casts keeps its type, and all others stay as they are. So here the results are taken
from the program, and only the new nodes run (docs/lab/findings.md, "What publishing costs").
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch.fx import Node

__all__ = ["values_kept_in_promotion"]

_KEPT = "val"
"""The entry of a node's meta data that holds its result."""


@contextlib.contextmanager
def values_kept_in_promotion() -> Iterator[None]:
    """Have torch.onnx.export in the context take results from the program while it inserts casts.

    Where a later torch inserts them elsewhere, it runs each node.
    """
    try:
        from torch.onnx._internal.fx.passes import type_promotion

        interpreter: Any = type_promotion._TypePromotionInterpreter  # noqa: SLF001 - there is no public way
        promoting, rule_of = interpreter.run_node, type_promotion.get_type_promotion_rule
    except (ImportError, AttributeError):
        yield
        return

    def run_node(self: Any, node: Node) -> Any:  # noqa: ANN401 - torch's
        if node.op != "call_function" or _KEPT not in node.meta:
            return promoting(self, node)
        if rule := rule_of(node, self.type_promotion_table):
            with self._set_current_node(node):
                self._maybe_promote_node(node, rule)
        return node.meta[_KEPT]

    interpreter.run_node = run_node
    try:
        yield
    finally:
        interpreter.run_node = promoting
