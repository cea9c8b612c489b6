"""What a user says about the tensors of an ONNX file, beyond what the file says itself."""

import dataclasses
from collections.abc import Mapping, Sequence

__all__ = ["Roles"]


@dataclasses.dataclass(frozen=True)
class Roles:
    """Names and roles that an ONNX file does not hold.

    Attributes:
        axes: Names of axes, by tensor and position: {("input", 0): "batch"}.
        lengths: The sequence axis whose steps an input counts: {"n": "sequence"}.
        states: Which output continues as which input: {"h_n": "h_0"}.
        integers: The lowest value of an integer input, and one more than the highest: {"tokens": (0, 5000)}.
        sizes: The smallest and the largest size of a dynamic axis that the model takes: {"sequence": (1, 64)}.
        fixed: The size of an axis that never has another one, such as samples of a chunk: {"sequence": 576}.
        constants: Values of inputs that are the same for all requests, as text: {"sr": "16000"}.
        outputs: Which outputs are published, in this order; empty for all.
        labels: Names of the classes.
        expose_states: Whether states that are found in the graph become inputs and outputs.
    """

    axes: Mapping[tuple[str, int], str] = dataclasses.field(default_factory=dict)
    lengths: Mapping[str, str] = dataclasses.field(default_factory=dict)
    states: Mapping[str, str] = dataclasses.field(default_factory=dict)
    integers: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    sizes: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    fixed: Mapping[str, int] = dataclasses.field(default_factory=dict)
    constants: Mapping[str, str] = dataclasses.field(default_factory=dict)
    outputs: Sequence[str] = ()
    labels: Sequence[str] = ()
    expose_states: bool = False

    @property
    def limits(self) -> dict[str, tuple[int, int]]:
        """The smallest and the largest size of axes, fixed ones among them."""
        return {**self.sizes, **{axis: (size, size) for axis, size in self.fixed.items()}}
