"""A publication: a module, and the description under which it is published."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
from torch import nn

from rnnserve.export.description.input_descriptions import InputDescription
from rnnserve.export.description.state_trees import StateTree

__all__ = ["InputDescriptions", "Publication"]

InputDescriptions = Mapping[str, InputDescription | StateTree | Mapping[str, Any]]
"""By parameter of forward; of one that takes several tensors a dict, whose values are descriptions or such dicts."""


@dataclasses.dataclass(frozen=True)
class Publication:
    """What is published, and as what.

    `rnnserve export FILE.py:NAME` takes one, a list of them, or a function that returns either.

    Attributes:
        module: Any nn.Module that `export_onnx` takes, float32, on the CPU.
        name: The model's.
        inputs: Descriptions by the names of forward's parameters, in its order; parameters with a default may be left
            out. For a parameter that is a tuple or a dict of tensors, a dict of the tensors' names and descriptions,
            with dicts in it as forward takes them: "x_d": {"rain": Floats(…)} in it has the tensor "x_d.rain". For a
            nested state a `StateTree`.
        outputs: Names of what forward returns, in its order, nested ones flattened; or a dict of names and
            descriptions, which names fixed axes, too.
        states: Which output continues as which input: {"h_n": "h_0"}. Such inputs are zeros where a request leaves them
            out.
        state_attributes: Attributes that forward reads and writes from call to call, "cell.mem", where the state is not
            among its parameters; or a dict of them with a description each. Each becomes an input of that name, and an
            output, "cell.mem_n". What they hold when the module is published is the beginning of a sequence.
        labels: Names of the classes: of the last axis of the first output that has as many.
        samples: Real inputs, each a dict of arrays by input name; lengths and states may be left out. The proof and
            the golden results use them beside drawn ones.
        sizes: The smallest and the largest size of a dynamic axis that the module takes, where that is less than any:
            {"sequence": (5, 64)}. No row is shorter. The proof keeps to them, and servers refuse others.
        sequences: Whether config.pbtxt tells Triton to serve the model a step at a time and to keep its states. Triton
            then takes no request without a sequence, and no states. None is for models without a sequence axis only,
            which have no other way. Our own server does both, whatever this says.
        allow_non_finite: Whether NaN and infinity are among the ordinary values of the outputs, and may be among those
            of the inputs: they are then compared as such, recurrent operators keep them, and servers do not refuse
            them in outputs; in inputs where they run with --allow-non-finite. Otherwise a module that gives them on
            ordinary values is refused.
        constants: Values of parameters of forward that are the same in every request: {"temperature": 1.0}. Numbers,
            strings, flags, None, or tensors.
        expose_states: Whether states that are found in the graph, though forward neither takes nor returns them, become
            inputs and outputs, named after their module ("encoder.gru.h", "encoder.gru.h_n"). A module whose sequences
            may not be cut into parts is refused then.
        checkpoint_sha256: The digest of the weights' file, where there is one.

    Example:
        import torch
        from rnnserve.export import Floats, Publication, publish

        adder = Publication(
            torch.nn.RNN(2, 4, batch_first=True).eval(),  # with your weights
            "adder",
            inputs={"input": Floats("batch", "sequence", 2)},
            outputs=["output", "h_n"],
        )
        print(publish(adder, repository="own_models", progress=False).name)  # adder
    """

    module: nn.Module
    name: str
    inputs: InputDescriptions
    outputs: Sequence[str] | Mapping[str, InputDescription]
    states: Mapping[str, str] = dataclasses.field(default_factory=dict)
    labels: Sequence[str] = ()
    samples: Sequence[Mapping[str, npt.NDArray[Any]]] = ()
    sizes: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    sequences: bool | None = None
    allow_non_finite: bool = False
    constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    state_attributes: Sequence[str] | Mapping[str, InputDescription | StateTree] = ()
    expose_states: bool = False
    checkpoint_sha256: str = ""
