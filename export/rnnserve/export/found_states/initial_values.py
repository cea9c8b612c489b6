"""What a recurrence begins with: zeros, a constant, a declared state, or what is computed of other inputs."""

import dataclasses
from enum import Enum

from rnnserve.export.found_states.known_graph import KnownGraph
from rnnserve.export.found_states.place import Obstacle

__all__ = ["Beginning", "Initial", "initial_of"]


class Beginning(Enum):
    """What kind of value it is."""

    ZEROS = "zeros"
    CONSTANT = "constant"
    DECLARED = "declared"


@dataclasses.dataclass(frozen=True)
class Initial:
    """The value before the first step.

    Attributes:
        kind: Its kind.
        tensor: Its name in the graph; empty where it is left out, for zeros.
    """

    kind: Beginning
    tensor: str = ""


def initial_of(graph: KnownGraph, name: str) -> Initial:
    """Find what a recurrence begins with.

    Args:
        graph: The graph.
        name: Name of the initial value; empty where it is left out.

    Raises:
        Obstacle: If it is computed of inputs that are no declared states.
    """
    if not name:
        return Initial(Beginning.ZEROS)
    behind = graph.inputs_behind(name)
    if behind & graph.declared:
        return Initial(Beginning.DECLARED, name)
    if behind:
        raise Obstacle(
            f'it begins with what is computed of "{min(behind)}", which a later part would have to send again'
        )
    value = graph.values.get(name)
    fill = None if value is None else value.fill
    return Initial(Beginning.ZEROS if fill == 0 else Beginning.CONSTANT, name)
