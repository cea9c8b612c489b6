"""What a captured program may not do, since ONNX could only do it wrong, and what the exporter's errors mean."""

import pathlib
import re
import traceback
from typing import Any

import torch
from torch import nn
from torch.export.graph_signature import InputKind

from rnnserve.export.errors import ExportError, UnsupportedModule
from rnnserve.export.recurrence.axes import Axes

__all__ = ["explain", "place", "refuse_chance", "refuse_scripts", "refuse_state", "untranslated", "users_own"]

_TORCH = str(pathlib.Path(torch.__file__).parent)
_OURS = str(pathlib.Path(__file__).parent)
_SPECIALISED = re.compile(r"L\['(?P<path>[^']+)'\]\S*?\.size\(\)\[(?P<axis>\d+)\].*?constant \((?P<size>\d+)\)")


def users_own(filename: str) -> bool:
    """Whether a frame lies in the user's code: not in torch, not here."""
    return not filename.startswith((_TORCH, _OURS))


def place(filename: str, line: int | None) -> str:
    """How a message names a line of the user's code."""
    return f"{pathlib.PurePath(filename).name}:{line}"


def refuse_scripts(module: nn.Module) -> None:
    """A scripted module cannot be captured: its Python is gone."""
    for name, submodule in module.named_modules():
        if isinstance(submodule, torch.jit.ScriptModule):
            what = f"`{name}`" if name else "the module itself"
            raise UnsupportedModule(
                f"{what} is a TorchScript module, whose Python code is gone, so that it cannot be captured. Export the "
                "module that it was scripted from."
            )


def refuse_chance(program: torch.export.ExportedProgram) -> None:
    """Random numbers that the captured program would draw: dropout that is on, or noise."""
    for node in program.graph.nodes:
        target = node.target
        if not isinstance(target, torch._ops.OpOverload) or torch.Tag.nondeterministic_seeded not in target.tags:  # noqa: SLF001
            continue
        values = _arguments(target, node)
        on = next((values[name] for name in ("train", "training") if name in values), True)
        rate = next((values[name] for name in ("p", "dropout_p") if name in values), 1.0)
        if on and rate:
            raise UnsupportedModule(
                f"the module draws random numbers: {target._schema.name}. Exported, it could equal eager in no "  # noqa: SLF001
                "run. If it is dropout, call .eval() on the module before exporting; if it is an initial state, use "
                "zeros, a parameter, or an input."
            )


def _arguments(target: torch._ops.OpOverload, node: torch.fx.Node) -> dict[str, Any]:
    schema = target._schema.arguments  # noqa: SLF001
    values = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    values.update({argument.name: value for argument, value in zip(schema, node.args, strict=False)})
    return {**values, **node.kwargs}


def refuse_state(program: torch.export.ExportedProgram) -> None:
    """Buffers that the module writes to: an ONNX model remembers nothing from one run to the next."""
    mutated = sorted(program.graph_signature.buffers_to_mutate.values())
    if mutated:
        raise UnsupportedModule(
            f"the module writes to its buffers {mutated} when it is called, and an ONNX model remembers nothing from "
            "one run to the next. Call .eval() if it is a normalisation in training mode; make a carried state an "
            "input (h_0) and an output (h_n)."
        )
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.CUSTOM_OBJ:
            raise UnsupportedModule(f"the module holds a TorchScript object, {spec.target}, which ONNX has no form for")


def explain(error: Exception, module: nn.Module, axes: Axes) -> ExportError:
    """What an error of the capture means for the user."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ExportError):
            return cause
        cause = cause.__cause__ or cause.__context__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if users_own(frame.filename)]
    at = f" (at {place(frames[-1].filename, frames[-1].lineno)})" if frames else ""
    text = str(error)
    if lost := _SPECIALISED.search(text):
        return UnsupportedModule(_static(lost, module, axes))
    if type(error).__name__ == "GuardOnDataDependentSymNode" or "data-dependent" in text:
        return UnsupportedModule(
            f"the module's Python code depends on the values of a tensor{at}: it branches on one, loops over one, or "
            "makes a number of one (.item(), .tolist(), int(...)). Exported, it would be right for the sample's values "
            "only. Keep lengths and masks as tensors. If it is the size of what pad_packed_sequence gives, which is "
            f"the longest length, pass total_length=input.size(1). torch says: {_first_line(text)}"
        )
    return UnsupportedModule(
        f"the module cannot be captured: its forward raised {type(error).__name__}{at}: {_first_line(text)}"
    )


def _static(lost: re.Match[str], module: nn.Module, axes: Axes) -> str:
    axis, size = int(lost["axis"]), lost["size"]
    names = {name for tensor in axes.names for position, name in tensor.items() if position == axis}
    name = " or ".join(f'"{name}"' for name in sorted(names))
    cells = [f"`{name}`" for name, submodule in module.named_modules() if isinstance(submodule, nn.RNNCellBase)]
    culprit = f" It holds cells, {', '.join(cells)}: is one called in a loop over the steps?" if cells else ""
    return (
        f"axis {axis} of the argument {lost['path']} ({name}) cannot be dynamic: the module's Python code fixes it to "
        f"the sample's {size}, by a loop over it, by int() or len() (write .size()), or by a tensor of that fixed size."
        f"{culprit} Exported, the module would be right for that size only. A loop over steps becomes nn.RNN, nn.GRU "
        "or nn.LSTM, which take the same weights and are one operator a layer."
    )


def untranslated(error: Exception) -> UnsupportedModule:
    """What it means that a captured module has no translation."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    operator = re.search(r"target=torch\.ops\.([\w.]+)", str(error) + str(cause))
    what = f" its {operator[1]}" if operator else ""
    return UnsupportedModule(
        f"the module was captured, but torch.onnx cannot translate{what or ' it'}: {type(cause).__name__}: "
        f"{_first_line(str(cause))}"
    )


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no message")
