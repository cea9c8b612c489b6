"""What a user says about an ONNX file, and what a message asks for if that and the file are not enough."""

import dataclasses
from collections.abc import Mapping, Sequence

from rnnserve.export.errors import WrongArguments

__all__ = ["FROZEN", "ONE_ROW", "Question", "Roles", "ask"]

ONE_ROW = (
    "rnnserve runs several rows at once: export the file again with a dynamic batch axis (dynamic_shapes of "
    "torch.onnx.export)"
)
"""What to do about a file that computes one row."""

FROZEN = (
    "are sizes frozen in the graph, are two axes always of one size (give them one name), or are values out of bounds?"
)
"""What to look for where a file does not run with sizes that it should take."""


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


@dataclasses.dataclass(frozen=True)
class Question:
    """Something that a file does not say.

    Attributes:
        why: What is not known, without the option.
        option: The option that answers it, ready to paste, such as `--constant sr=16000`.
        hint: What else helps to answer it; empty for nothing.
    """

    why: str
    option: str
    hint: str = ""


def ask(questions: Sequence[Question]) -> None:
    """Ask all questions in one message."""
    if len(questions) == 1:
        (only,) = questions
        raise WrongArguments(f"{only.why}: {only.option}{only.hint}")
    if questions:
        options = " ".join(dict.fromkeys(question.option for question in questions))
        reasons = "; ".join(f"{question.why}{question.hint}" for question in questions)
        raise WrongArguments(f"the file does not say enough. Add, with your values: {options} ({reasons})")
