"""The passes of an export, in the order in which they run: first on the captured program, then on the graph.

Between the two, torch.onnx translates the program, operator by operator (`translations`, `rnnserve.export.operators`).
Each pass says what holds after it. A pass may rely on those before it; where its place matters for another reason, a
comment says why. docs/reference/passes.md has the same list.
"""

import dataclasses
import functools
import traceback
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

import onnx_ir as ir
import torch
from onnx_ir.passes.common import InlinePass
from torch import nn
from torch.export.graph_signature import ConstantArgument, OutputKind

from rnnserve.export.errors import ExportError, FailedPass, WrongArguments
from rnnserve.export.operators import (
    MayBeEmpty,
    guard_empty_axes,
    refuse_operators,
    rewrite_for_onnxruntime,
    unify_numbers,
)
from rnnserve.export.recurrence.carried_state import refuse_carried_state
from rnnserve.export.recurrence.dynamic_axes import Arguments, DynamicAxes
from rnnserve.export.recurrence.exact_passes import fold_weights, simplify_exactly
from rnnserve.export.recurrence.float16 import cast_before_transposing, compute_float16_in_float32
from rnnserve.export.recurrence.graph_values import fill_types
from rnnserve.export.recurrence.naming import (
    mark_translations,
    name_after_modules,
    name_axes,
    name_interface,
    remove_metadata,
)
from rnnserve.export.recurrence.postconditions import check_postconditions
from rnnserve.export.recurrence.program_passes import divide_sizes_exactly, leave_stored_buffers
from rnnserve.export.recurrence.refusals import refuse_state
from rnnserve.export.recurrence.scan_translation import refuse_empty_scans, translate_scans
from rnnserve.export.recurrence.size_expressions import sizes_that_may_be_empty
from rnnserve.export.recurrence.size_probing import Limits, other_sizes
from rnnserve.export.recurrence.value_trials import Trial, run_trials
from rnnserve.export.torch_adapter import TESTED

__all__ = ["ON_GRAPH", "ON_PROGRAM", "Captured", "GraphPass", "Translated"]

Subject = TypeVar("Subject")


@dataclasses.dataclass(frozen=True)
class GraphPass(Generic[Subject]):
    """A function that changes or checks its subject in place.

    Attributes:
        name: Name in messages, that of the function.
        ensures: What holds after it, a sentence.
        run: The function.
    """

    name: str
    ensures: str
    run: Callable[[Subject], None]

    def __call__(self, subject: Subject) -> None:
        """Run the pass.

        Raises:
            ExportError: If the pass refuses the module; OSError and MemoryError stay what they are, too.
            FailedPass: If the pass raises anything else, which is the cause.
        """
        try:
            self.run(subject)
        except (ExportError, OSError, MemoryError):  # refusals, and the surroundings: commands have a line for each
            raise
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise FailedPass(
                self.name,
                f"the export's pass {self.name} failed: {said} (line {place.lineno} of {place.filename}). It ensures: "
                f"{self.ensures} The module may be right: this is a defect of rnnserve, or torch, onnx or onnx_ir is "
                f"of a version that it was not tested with: torch is {torch.__version__}, tested with "
                f"{', '.join(TESTED)}",
            ) from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Captured:
    """A module that torch.export has captured, and what was asked for.

    Attributes:
        module: The module.
        args: Sample arguments of its forward.
        axes: Their dynamic axes.
        sizes: The sizes that the module takes.
        input_names: One name a tensor among the arguments.
        output_names: One name a tensor among the results.
        program: What was captured.
        trials: Sizes at which values are compared; `other_sizes` gives more.
        is_stateless: Whether the capture has found already that no call reads what the one before has written.
    """

    module: nn.Module
    args: Arguments
    axes: DynamicAxes
    sizes: Limits
    input_names: Sequence[str]
    output_names: Sequence[str]
    program: torch.export.ExportedProgram
    trials: list[Trial] = dataclasses.field(default_factory=list)
    is_stateless: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Translated:
    """A captured module, and the graph that torch.onnx has made of it.

    Attributes:
        captured: The module, and what was asked for.
        program: The graph, and the captured program as torch.onnx has decomposed it.
    """

    captured: Captured
    program: torch.onnx.ONNXProgram

    @property
    def model(self) -> ir.Model:
        """The graph."""
        return self.program.model

    @property
    def decomposed(self) -> torch.export.ExportedProgram:
        """The captured program, with the operators that were translated."""
        return cast(torch.export.ExportedProgram, self.program.exported_program)

    @functools.cached_property
    def may_be_empty(self) -> MayBeEmpty | None:
        """Whether a size of the graph, by the name that torch.onnx gives it, may be 0; None where none may."""
        captured = self.captured
        return sizes_that_may_be_empty(captured.program, self.decomposed, captured.axes, captured.sizes)


def _check_outputs(captured: Captured) -> None:
    results = [
        spec
        for spec in captured.program.graph_signature.output_specs
        if spec.kind is OutputKind.USER_OUTPUT and not isinstance(spec.arg, ConstantArgument)
    ]
    names = captured.output_names
    if len(results) != len(names) or len(set(names)) != len(names):
        raise WrongArguments(
            f"output_names has {len(set(names))} different names, {list(names)}, for the module's "
            f"{len(results)} results; give one name a tensor, nested ones in order (h_n and c_n are two)"
        )


def _refuse_carried_state(it: Translated) -> None:
    captured = it.captured
    if not captured.is_stateless:
        refuse_carried_state(captured.module, captured.args)


def _find_other_sizes(it: Translated) -> None:
    captured = it.captured
    if captured.trials:  # of a rolled program, whose values are compared at more sizes
        return
    captured.trials.extend(other_sizes(captured.module, captured.args, captured.axes, captured.program, captured.sizes))


def _run_trials(it: Translated) -> None:
    captured = it.captured
    run_trials(captured.trials, captured.module, captured.args, captured.axes, captured.input_names, it.program)


def _check_postconditions(it: Translated) -> None:
    captured = it.captured
    check_postconditions(it.program, captured.axes, captured.input_names, captured.output_names)


def _guard_empty_axes(it: Translated) -> None:
    guard_empty_axes(it.model, it.may_be_empty)
    refuse_empty_scans(it.model, it.may_be_empty)


def _inline_functions(model: ir.Model) -> None:
    InlinePass()(model)


def _of_model(change: Callable[[ir.Model], None], ensures: str) -> GraphPass[Translated]:
    """Make a pass of a function that takes nothing but the graph."""
    return GraphPass(change.__name__.lstrip("_"), ensures, lambda it: change(it.model))


ON_PROGRAM: Sequence[GraphPass[Captured]] = (
    GraphPass(
        "leave_stored_buffers",
        "Buffers whose values before a call no result depends on are not written to.",
        lambda it: leave_stored_buffers(it.program),
    ),
    GraphPass(
        "divide_sizes_exactly",
        "Rounded quotients of sizes are computed with integers.",
        lambda it: divide_sizes_exactly(it.program),
    ),
    GraphPass(
        "refuse_operators",
        "The program has no operator whose results would be wrong, or right for some values only.",
        lambda it: refuse_operators(it.program),
    ),
    GraphPass(
        "unify_numbers",
        "Bounds and choices beside a tensor of floats are floats, for which torch.onnx has translations.",
        lambda it: unify_numbers(it.program),
    ),
    GraphPass("check_outputs", "There is one name for each tensor that the module gives.", _check_outputs),
)
"""Passes on the captured program."""

ON_GRAPH: Sequence[GraphPass[Translated]] = (
    # Refusals come after the translation: an operator that has none is named before a state that is kept.
    GraphPass("refuse_state", "The module writes to no buffer.", lambda it: refuse_state(it.decomposed)),
    GraphPass(
        "refuse_carried_state",
        "No call of the module reads what the call before it has written.",
        _refuse_carried_state,
    ),
    GraphPass(
        "find_other_sizes",
        "Sizes are known at which the module may compute otherwise; no condition has another path for several sizes.",
        _find_other_sizes,
    ),
    _of_model(_inline_functions, "Every node is an operator of ONNX, or a marker of a scan: no function is called."),
    _of_model(fill_types, "Every value has a type, where its operator tells it."),
    GraphPass(
        "guard_empty_axes",
        "Where an axis is empty for a request, what onnxruntime computes otherwise of it than eager fails, by a node "
        "whose name says why.",
        _guard_empty_axes,
    ),
    _of_model(
        rewrite_for_onnxruntime,
        "NaN, small sigmoids, sums of integers and Fourier transforms are as in eager; each operator has a kernel.",
    ),
    _of_model(simplify_exactly, "The graph is small: sizes are folded, and no node is there twice or without use."),
    # Outputs are values of their own from here on, so that each can have its name.
    GraphPass(
        "name_interface",
        "Inputs and outputs have the names that were asked for, and no other value has one of them.",
        lambda it: name_interface(it.model, it.captured.input_names, it.captured.output_names),
    ),
    _of_model(translate_scans, "Each scan is one Scan of ONNX, and no marker is left."),
    # Bodies of scans have their values' shapes by now.
    GraphPass(
        "name_axes",
        "Dynamic axes have the names that were asked for, in every tensor.",
        lambda it: name_axes(it.model, it.decomposed, it.captured.axes, it.captured.sizes),
    ),
    _of_model(
        fold_weights, "Weights of recurrent operators are initializers in ONNX's layout, where no input changes them."
    ),
    _of_model(compute_float16_in_float32, "Every operator computes in float32 or float64; float16 is at the edges."),
    # Casts of the pass before it are among those that are exchanged.
    _of_model(cast_before_transposing, "No Cast comes after a Transpose, which ends onnxruntime's process."),
    GraphPass(
        "name_after_modules",
        "Nodes that may carry something from step to step have the path of their module before their names.",
        lambda it: name_after_modules(it.model, it.captured.module),
    ),
    _of_model(remove_metadata, "Nothing in the model tells of the exporting machine."),
    _of_model(mark_translations, "The model says that these translations made it."),
    GraphPass(
        "check_postconditions",
        "Names and axes are those asked for, each layer is one operator, and the model is valid ONNX.",
        _check_postconditions,
    ),
    GraphPass(
        "run_trials",
        "At sizes other than the sample's the model gives the module's values.",
        _run_trials,
    ),
)
"""Passes on the graph that torch.onnx gives."""
