"""The passes of an export, in the order in which they run: first on the captured program, then on the graph.

Between the two, torch.onnx translates the program, operator by operator. A pass may rely on those before it; where its
place matters for another reason, a comment has the reason. docs/reference/passes.md lists what holds after each.
"""

import dataclasses
import functools
import traceback
from collections.abc import Callable, Sequence
from typing import Any, cast

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes.common import InlinePass
from torch import nn
from torch.export.graph_signature import ConstantArgument, OutputKind

from rnnserve.export.errors import BrokenPostcondition, ExportError, FailedPass, WrongArguments
from rnnserve.export.operators import (
    MayBeEmpty,
    guard_empty_axes,
    refuse_operators,
    rewrite_for_onnxruntime,
    unify_numbers,
)
from rnnserve.export.operators.graphs import fill_types
from rnnserve.export.recurrence import layer_operators
from rnnserve.export.recurrence.carried_state import refuse_carried_state
from rnnserve.export.recurrence.dynamic_axes import Arguments, DynamicAxes
from rnnserve.export.recurrence.exact_passes import (
    RECURRENT,
    cast_before_transposing,
    compute_float16_in_float32,
    fold_weights,
    simplify_exactly,
)
from rnnserve.export.recurrence.naming import (
    mark_translations,
    name_after_modules,
    name_axes,
    name_interface,
    remove_metadata,
)
from rnnserve.export.recurrence.program_passes import divide_sizes_exactly, leave_stored_buffers
from rnnserve.export.recurrence.refusals import refuse_state
from rnnserve.export.recurrence.scan import refuse_empty_scans, translate_scans
from rnnserve.export.recurrence.sizes import Limits, other_sizes, sizes_that_may_be_empty
from rnnserve.export.recurrence.value_trials import Trial, run_trials
from rnnserve.export.torch_adapter import TESTED

__all__ = ["ON_GRAPH", "ON_PROGRAM", "Export", "GraphPass"]


class GraphPass:
    """A function that changes or checks its subject, of which it takes some attributes, or the subject itself."""

    def __init__(self, function: Callable[..., None], *attributes: str) -> None:
        self.function, self.attributes = function, attributes
        self.name = function.__name__.lstrip("_")

    def __call__(self, subject: Any) -> None:  # noqa: ANN401 - an Export, or whatever the function takes
        """Run the pass. Refusals, OSError and MemoryError stay what they are; all else becomes a FailedPass."""
        try:
            self.function(*(getattr(subject, name) for name in self.attributes) if self.attributes else (subject,))
        except (ExportError, OSError, MemoryError):
            raise
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise FailedPass(
                self.name,
                f"the export's pass {self.name} failed: {said} (line {place.lineno} of {place.filename}). The module "
                "may be right: this is a defect of rnnserve, or torch, onnx or onnx_ir is of a version that it was not "
                f"tested with: torch is {torch.__version__}, tested with {', '.join(TESTED)}",
            ) from error


@dataclasses.dataclass(kw_only=True)
class Export:
    """A module that torch.export has captured, what was asked for and, once it is translated, the graph.

    Attributes:
        trials: Sizes at which values are compared; for a program with symbolic sizes `find_other_sizes` adds them.
    """

    module: nn.Module
    args: Arguments
    axes: DynamicAxes
    sizes: Limits  # the sizes that the module takes
    input_names: Sequence[str]  # one name a tensor among the arguments
    output_names: Sequence[str]  # one name a tensor among the results
    program: torch.export.ExportedProgram  # what was captured
    trials: list[Trial]
    is_stateless: bool  # whether the capture has found already that no call reads what the one before has written
    translated: torch.onnx.ONNXProgram | None = None  # the graph, with the program as torch.onnx has decomposed it

    @property
    def onnx_program(self) -> torch.onnx.ONNXProgram:
        """The graph and its program."""
        return cast(torch.onnx.ONNXProgram, self.translated)

    @property
    def model(self) -> ir.Model:
        """The graph."""
        return self.onnx_program.model

    @property
    def decomposed(self) -> torch.export.ExportedProgram:
        """The captured program, with the operators that were translated."""
        return cast(torch.export.ExportedProgram, self.onnx_program.exported_program)

    @functools.cached_property
    def may_be_empty(self) -> MayBeEmpty | None:
        """Whether a size of the graph, by the name that torch.onnx gives it, may be 0; None where none may."""
        return sizes_that_may_be_empty(self.program, self.decomposed, self.axes, self.sizes)


def _check_outputs(program: torch.export.ExportedProgram, names: Sequence[str]) -> None:
    results = [
        spec
        for spec in program.graph_signature.output_specs
        if spec.kind is OutputKind.USER_OUTPUT and not isinstance(spec.arg, ConstantArgument)
    ]
    if len(results) != len(names) or len(set(names)) != len(names):
        raise WrongArguments(
            f"output_names has {len(set(names))} different names, {list(names)}, for the module's "
            f"{len(results)} results; give one name a tensor, nested ones in order (h_n and c_n are two)"
        )


def _refuse_carried_state(export: Export) -> None:
    if not export.is_stateless:
        refuse_carried_state(export.module, export.args)


def _find_other_sizes(export: Export) -> None:
    if not export.trials:  # a rolled program has some
        export.trials = other_sizes(export.module, export.args, export.axes, export.program, export.sizes)


def _inline_functions(model: ir.Model) -> None:
    InlinePass()(model)


def _guard_empty_axes(model: ir.Model, may_be_empty: MayBeEmpty | None) -> None:
    if may_be_empty is not None:
        guard_empty_axes(model, may_be_empty)
        refuse_empty_scans(model, may_be_empty)


def _check_postconditions(export: Export) -> None:
    """Compare the program with what was asked for; the message of BrokenPostcondition has all that differs."""
    graph, model = export.model.graph, export.onnx_program.model_proto
    wrong = [
        f"{what} are {found}, not {list(asked)}"
        for what, found, asked in (
            ("inputs", [value.name for value in graph.inputs], export.input_names),
            ("outputs", [value.name for value in graph.outputs], export.output_names),
        )
        if found != list(asked)
    ]
    for value, names in zip(graph.inputs, export.axes.names, strict=True):
        for axis, name in names.items():
            size = value.shape[axis] if value.shape is not None else None
            if str(getattr(size, "value", size)) != name:
                wrong.append(f'axis {axis} of the input {value.name} is {size}, not "{name}"')
    wrong += _wrong_operators(export)
    if wrong:
        raise BrokenPostcondition("the exporter did not give what was asked for: " + "; ".join(wrong))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as invalid:
        raise BrokenPostcondition(f"the exported model is not valid ONNX: {invalid}") from invalid


def _wrong_operators(export: Export) -> list[str]:
    """Check that there is one operator for each layer, none unrolled, and none of our own domain."""
    layers = (layer_operators.RNN, layer_operators.GRU, layer_operators.LSTM)
    stand_ins = [node for node in export.decomposed.graph.nodes if node.target in layers]
    # The exporter merges calls that are equal in everything, so that there may be fewer operators than calls.
    distinct = {
        (node.target, str([argument for argument in node.args if isinstance(argument, list)])) for node in stand_ins
    }
    nodes = [node for node in export.model.graph.all_nodes() if node.op_type in RECURRENT]
    wrong = []
    if not len(distinct) <= len(nodes) <= len(stand_ins):
        wrong.append(f"{len(nodes)} recurrent operators for {len(stand_ins)} layers")
    foreign = sorted({node.domain for node in export.model.graph.all_nodes() if node.domain})
    if foreign:
        wrong.append(f"operators of other domains than ONNX's own: {foreign}")
    return wrong


ON_PROGRAM: Sequence[GraphPass] = (
    GraphPass(leave_stored_buffers, "program"),
    GraphPass(divide_sizes_exactly, "program"),
    GraphPass(refuse_operators, "program"),
    GraphPass(unify_numbers, "program"),
    GraphPass(_check_outputs, "program", "output_names"),
)
"""Passes on the captured program."""

ON_GRAPH: Sequence[GraphPass] = (
    # Refusals come after the translation: an operator that has none is named before a state that is kept.
    GraphPass(refuse_state, "decomposed"),
    GraphPass(_refuse_carried_state),
    GraphPass(_find_other_sizes),
    GraphPass(_inline_functions, "model"),
    GraphPass(fill_types, "model"),
    GraphPass(_guard_empty_axes, "model", "may_be_empty"),
    GraphPass(rewrite_for_onnxruntime, "model"),
    GraphPass(simplify_exactly, "model"),
    # Outputs are values of their own from here on, so that each can have its name.
    GraphPass(name_interface, "model", "input_names", "output_names"),
    GraphPass(translate_scans, "model"),
    # Bodies of scans have their values' shapes by now.
    GraphPass(name_axes, "model", "decomposed", "axes", "sizes"),
    GraphPass(fold_weights, "model"),
    GraphPass(compute_float16_in_float32, "model"),
    # Casts of the pass before it are among those that are exchanged.
    GraphPass(cast_before_transposing, "model"),
    GraphPass(name_after_modules, "model", "module"),
    GraphPass(remove_metadata, "model"),
    GraphPass(mark_translations, "model"),
    GraphPass(_check_postconditions),
    GraphPass(run_trials, "trials", "module", "args", "axes", "input_names", "onnx_program"),
)
"""Passes on the graph that torch.onnx gives."""
