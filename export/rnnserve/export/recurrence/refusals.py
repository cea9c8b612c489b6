"""Refusing captured programs that ONNX can't express, and explaining the errors of torch's exporter."""

import contextlib
import linecache
import threading
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch
from torch import nn
from torch.export.graph_signature import InputKind
from torch.fx.experimental.symbolic_shapes import ConstraintViolationError, ShapeEnv

from rnnserve.export.errors import ExportError, UnsupportedModule
from rnnserve.export.recurrence.dynamic_axes import DynamicAxes
from rnnserve.export.source_lines import first_line, is_users_code, line_of, source_line
from rnnserve.export.surroundings import held_modules
from rnnserve.export.torch_adapter import (
    OpOverload,
    asks_for_values,
    lacks_an_operator,
    node_in_translation,
    replacements_seen,
    schema_of,
)
from rnnserve.protos.protocol_words import BATCH

__all__ = [
    "PARTS",
    "AsksForValues",
    "FixedSize",
    "NotRolled",
    "OtherPath",
    "RaisedInCapture",
    "SizeIsFixed",
    "counts_calls",
    "explain",
    "fixed_size",
    "fixed_sizes_noted",
    "keeps_state",
    "refuse_random_numbers",
    "refuse_scripts",
    "refuse_state",
    "untranslated",
]


class SizeIsFixed(BaseException):
    """Ends a capture at the line that fixes a size. No `except Exception` in user code or torch catches it."""


class AsksForValues(Exception):
    """Code reads the values of a tensor that has none during a capture."""


class FixedSize(UnsupportedModule):
    """The module's Python code fixes an axis to the sample's size, for example in a loop over the axis."""

    def __init__(self, message: str, *, of_batch: bool = False) -> None:
        super().__init__(message)
        self.of_batch = of_batch  # the module may store something with as many rows as the sample


class NotRolled(UnsupportedModule):
    """The captures at several lengths don't fit one program for all lengths. The message has place and reason."""


class OtherPath(UnsupportedModule):
    """At some sizes, the module's code takes another path than at the sample's sizes."""

    def __init__(self, message: str, *, by_loop: bool = False) -> None:
        super().__init__(message)
        self.by_loop = by_loop  # whether a loop has another number of rounds


class RaisedInCapture(UnsupportedModule):
    """The module raises during its capture, for example in a loop over an unknown number of steps."""


class Fixed(NamedTuple):
    """The place that fixes a size: the line of user code as "file.py:12", its text, and the enclosing function."""

    line: str = ""
    code: str = ""
    function: str = ""
    by_number: bool = False  # whether the code makes a plain number of the size: `int(x.size(1))`
    axis: int | None = None  # axis of an argument, or None for a size computed from others

    def __str__(self) -> str:
        """Format the place for a message, " (at file.py:12, 'n = int(x.size(1))')", or nothing if it is unknown."""
        shown = f", {self.code!r}" if self.code else ""
        return f" (at {self.line}{shown})" if self.line else ""


@contextlib.contextmanager
def fixed_sizes_noted(ending: Collection[int]) -> Iterator[dict[int, Fixed]]:
    """Record the sizes that this thread's captures fix in the context, each with the first line that fixes it.

    A capture ends with SizeIsFixed if a loop, or similar code of the user, fixes any of the sizes in `ending`.
    """
    noted: dict[int, Fixed] = {}
    thread = threading.get_ident()

    def see(self: ShapeEnv, symbol: sympy.Symbol, target: sympy.Expr) -> None:
        if not isinstance(target, sympy.Integer) or int(target) in noted or threading.get_ident() != thread:
            return
        stack = traceback.extract_stack()
        # The innermost frame of user code. torch's generated code has no file.
        users = [at for at, each in enumerate(stack) if is_users_code(each.filename) and each.filename.endswith(".py")]
        if not users:
            return
        line, called, sources = stack[users[-1]], stack[users[-1] + 1], self.var_to_sources.get(symbol, [])
        noted[int(target)] = fixed = Fixed(
            source_line(line.filename, line.lineno),
            (line.line or "").strip(),
            line.name,
            by_number=called.name == "__int__",
            axis=next((each.idx for each in sources if hasattr(each, "idx")), None),
        )
        if sources and int(target) in ending and not fixed.by_number:
            raise SizeIsFixed

    with replacements_seen(see):
        yield noted


PARTS = (
    "Instead of parts of a sequence that pass on a state, take the whole sequence: y, h = gru(x, h), or one loop over "
    "all steps"
)
"""Advice for code that computes parts of a sequence one after the other, in chunks."""

_QUANTIZED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")


def refuse_scripts(module: nn.Module) -> None:
    """Refuse scripted modules, which have no Python code to capture, quantized modules, sparse or 16-bit weights."""
    for name, submodule in module.named_modules():
        if isinstance(submodule, torch.jit.ScriptModule):
            what = f"`{name}`" if name else "the module itself"
            raise UnsupportedModule(
                f"{what} is a TorchScript module. It has no Python code to capture. Export the original module, an "
                "nn.Module without torch.jit.script and @torch.jit.script_method."
            )
        if type(submodule).__module__.startswith(_QUANTIZED):
            raise UnsupportedModule(
                f"`{name}` is a quantized module ({type(submodule).__module__}.{type(submodule).__name__}), whose "
                "weights and kernels ONNX cannot represent. Publish the module as it was before quantization."
            )
        for held, tensor in (*submodule.named_parameters(recurse=False), *submodule.named_buffers(recurse=False)):
            what = f"`{held}`{f' of `{name}`' if name else ''}"
            if tensor.dtype in (torch.float16, torch.bfloat16):
                raise UnsupportedModule(
                    f"{what} is {tensor.dtype}, for which onnxruntime has few kernels, and which is not faster on a "
                    "CPU. Publish the module in float32: module.float()."
                )
            if tensor.layout is not torch.strided:
                raise UnsupportedModule(
                    f"{what} is a sparse tensor, which the capture and ONNX do not support. Make it dense with "
                    ".to_dense() before exporting, and multiply with @."
                )


def refuse_random_numbers(graph: torch.fx.Graph, module: nn.Module) -> None:
    """Refuse random numbers in the captured program, such as active dropout or noise."""
    for node in graph.nodes:
        target = node.target
        if not isinstance(target, OpOverload) or torch.Tag.nondeterministic_seeded not in target.tags:
            continue
        values = _arguments(target, node)
        on = next((values[name] for name in ("train", "training") if name in values), True)
        rate = next((values[name] for name in ("p", "dropout_p") if name in values), 1.0)
        if on and rate:
            raise UnsupportedModule(
                f"the module draws random numbers: {schema_of(target).name}. Exported, it could never equal eager. "
                f"If it is dropout, call .eval() on {_in_training(module)} before exporting. If it is an initial "
                "state, use zeros, a parameter, or an input."
            )


def _in_training(module: nn.Module) -> str:
    """Name the modules in training mode: unregistered modules, which .eval() doesn't reach, or the whole module."""
    registered = set(module.modules())
    held = [name for name, each in held_modules(module).items() if each.training and each not in registered]
    names = ", ".join(f"`{name}`" for name in held)
    return f"{names}, which .eval() on the module does not reach," if held else "the module"


def _arguments(target: OpOverload, node: torch.fx.Node) -> dict[str, Any]:
    schema = schema_of(target).arguments
    values = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    values.update({argument.name: value for argument, value in zip(schema, node.args, strict=False)})
    return {**values, **node.kwargs}


def keeps_state(names: Iterable[str]) -> UnsupportedModule:
    """Return a refusal that names the state that a module keeps, and explains how to publish it."""
    kept = sorted(names)
    if not kept:
        return counts_calls(())
    return UnsupportedModule(
        f"the module keeps {kept} from one call to the next, but an ONNX model keeps no state. Publish it with "
        f"state_attributes={kept}, which adds an input and an output for each. Or make the state an input (h_0) and "
        'an output (h_n) of forward, and publish it with states={"h_n": "h_0"}; then '
        "clients pass it from call to call."
    )


def counts_calls(names: Collection[str]) -> UnsupportedModule:
    """Return a refusal because a call changes numbers of the module, or something outside of it, for later calls."""
    said = sorted(names)
    changes = f"changes {said}" if said else "changes something outside itself, such as a global variable,"
    advice = (
        f"Make it a tensor, (batch, …), and publish the module with state_attributes={said}"
        if said
        else "Make it an attribute of the module, self.state, a tensor (batch, …), and publish the module with "
        'state_attributes=["state"]'
    )
    return UnsupportedModule(
        f"the module {changes} with each call, so the next call returns other results for the same inputs, but an "
        f"ONNX model keeps no state. {advice}, or do not use it in forward."
    )


def refuse_state(program: torch.export.ExportedProgram) -> None:
    """Refuse buffers that an operator itself writes to, as a normalization in training mode does."""
    mutated = sorted(program.graph_signature.buffers_to_mutate.values())
    if mutated:
        raise UnsupportedModule(
            f"the module writes to its buffers {mutated} in each call, because a normalization is in training mode, "
            "but an ONNX model keeps no state. Call .eval() on the module before exporting."
        )
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.CUSTOM_OBJ:
            raise UnsupportedModule(
                f"the module holds a TorchScript object, {spec.target}, which ONNX cannot represent. Keep its values "
                "in tensors"
            )


def explain(error: Exception, module: nn.Module, axes: DynamicAxes, fixed: Mapping[int, Fixed]) -> ExportError:
    """Convert an error of the capture into a refusal whose message explains how to change the module."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users_code(frame.filename)]
    at = f" (at {source_line(frames[-1].filename, frames[-1].lineno)})" if frames else ""
    said = first_line(str(error))
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ExportError):
            return cause
        if isinstance(cause, ConstraintViolationError):
            return fixed_size(module, axes, fixed)
        if isinstance(cause, AsksForValues) or asks_for_values(cause):
            return UnsupportedModule(_of_values(at, frames, axes))
        if lacks_an_operator(cause):
            return UnsupportedModule(
                f"the module calls {cause}{at}, a compiled operator: it has no Python code to capture, and ONNX "
                "cannot represent it. Use operators of torch that compute the same."
            )
        cause = cause.__cause__ or cause.__context__
    return RaisedInCapture(f"the module cannot be captured: its forward raised {type(error).__name__}{at}: {said}")


def _of_values(at: str, frames: list[traceback.FrameSummary], axes: DynamicAxes) -> str:
    """Explain that the code depends on values, with advice. Modules with lengths or masks get advice about these."""
    line = (frames[-1].line or "").strip() if frames else ""
    after = linecache.getline(frames[-1].filename, (frames[-1].lineno or 0) + 1).strip() if frames else ""
    shown = f", {line!r}" if line else ""
    said = (
        f"the module's Python code depends on the values of a tensor{at}{shown}: it branches on a value, loops over "
        "values, or converts one to a Python number (.item(), .tolist(), int(...)). Exported, it would be correct "
        "only for the sample's values. Instead of a branch, write torch.where(condition, one, other), and keep "
        "numbers as tensors."
    )
    if line.startswith("if ") and "break" in (line.split(": ")[-1].strip(), after):
        said += (
            " Here the branch ends a loop, so values decide the number of outputs. Leave the branch out, and return "
            "the number of valid steps of each row, (batch,), as another output."
        )
    if any("len" in text or "mask" in text for text in (line, *axes.labels)):
        said += (
            " Also keep lengths and masks as tensors. If the module cuts each row at its length, x[i, :length], "
            "compute all steps of all rows instead, and choose with steps = torch.arange(x.size(1)) and inside = "
            "steps < lengths.unsqueeze(1), (batch, sequence). To reverse rows up to their lengths, write x.gather(1, "
            "at.unsqueeze(2).expand_as(x)) with at = torch.where(inside, lengths.unsqueeze(1) - 1 - steps, steps). "
            "If the value is the size of a result of pad_packed_sequence, pass total_length=input.size(1)."
        )
    return said


def fixed_size(module: nn.Module, axes: DynamicAxes, all_fixed: Mapping[int, Fixed]) -> FixedSize:
    """Return a refusal that explains how a size gets fixed, and suggests a change."""
    # If code makes a number of one size, later code often fixes others with it.
    ordered = sorted(all_fixed.items(), key=lambda each: not each[1].by_number)
    size, fixed = next(iter(ordered), (0, Fixed()))
    names = {name for tensor in axes.names for at, name in tensor.items() if fixed.axis in (None, at)}
    name = " or ".join(f'"{name}"' for name in sorted(names))
    if fixed.by_number:
        return FixedSize(
            f"the axis {name} cannot be dynamic: {fixed.function} converts its size to a Python number{fixed}, so "
            f"the exported module would be correct only for the sample's {size}. Pass the size on unchanged, without "
            "int(), and write a loop or a recursion over it with rnnserve.export.scan. If the function is not "
            "yours, replace it with your own that returns the same."
        )
    if names == {BATCH}:
        return FixedSize(
            f'the axis "{BATCH}" cannot be dynamic: the '
            f"module's Python code fixes it to the sample's {size} rows{fixed}, by a state or another tensor of that "
            "size, by an attribute such as self.batch_size, by int() or len() (write .size()), or by a loop over "
            f"the rows.{_holding(size, module)} Create tensors with a batch axis inside forward, with the size of "
            "its input: x.new_zeros(x.size(0), hidden). Requests have other numbers of rows than the sample.",
            of_batch=True,
        )
    cells = [f"`{name}`" for name, submodule in module.named_modules() if isinstance(submodule, nn.RNNCellBase)]
    culprit = f" It holds cells, {', '.join(cells)}. Does it call one in a loop over the steps?" if cells else ""
    return FixedSize(
        f"the axis {name} cannot be dynamic: the module's Python code fixes it to the sample's {size}{fixed}, by a "
        "loop over it, by int() or len() (write .size()), by a function that takes a Python number (instead of "
        "math.log(n) write torch.log(torch.tensor(n)); for a window of n steps, use a formula of torch.arange(n)), "
        f"or by a tensor of that fixed size.{culprit} Exported, the module would be correct only for that size. If a "
        "loop only calls a PyTorch cell, use nn.RNN, nn.GRU or nn.LSTM, which take the same weights (the cell's "
        "names with _l0 after each) and become one operator for each layer. Write any other loop over steps with "
        "rnnserve.export.scan, a loop in eager and one operator, Scan, in ONNX: h_n, output = scan(step, h_0, "
        "input, dim=1), where step(h, x) returns the pair (h after the step, the step's output)."
    )


def _holding(size: int, module: nn.Module) -> str:
    """Name the module's tensors and attributes that may fix the number of rows."""
    kept = [
        f"`{name}.{attribute}`".replace("`.", "`")
        for name, submodule in module.named_modules()
        for attribute, value in (*submodule.__dict__.items(), *submodule.named_buffers(recurse=False))
        if (isinstance(value, torch.Tensor) and size in value.shape)
        or (isinstance(value, int) and value == size and "batch" in attribute)
    ]
    return f" These attributes hold that number: {', '.join(kept)}." if kept else ""


_WRITE = {
    "hypot": "write torch.sqrt(x * x + y * y). If squares overflow, divide both by the larger one first",
    "searchsorted": "count the boundaries below: (x[..., None] > boundaries).sum(-1), or >= with right=True",
    "bucketize": "count the boundaries below: (x[..., None] > boundaries).sum(-1), or >= with right=True",
    "cummax": "write a loop over the steps, with most = torch.maximum(most, x[:, t])",
    "cummin": "write a loop over the steps, with least = torch.minimum(least, x[:, t])",
    "histc": "compare with the edges of the bins, and sum: ((x[..., None] >= low) & (x[..., None] < high)).sum(-2)",
    "scaled_dot_product_attention": "give it three or four axes: join the leading axes, x.flatten(0, 1)",
    "lgamma": "compute it outside of the module, or from a table by an embedding, if its argument is an integer",
    "digamma": "compute it outside of the module, or from a table by an embedding, if its argument is an integer",
} | dict.fromkeys(
    (
        *("svd", "qr", "eigh", "eig", "matrix_exp", "lu", "lu_factor", "lstsq", "inv", "inverse", "tensorinv", "pinv"),
        *("solve", "solve_triangular", "triangular_solve", "tensorsolve", "cholesky", "cholesky_solve"),
        "cholesky_inverse",
    ),
    "if the matrix does not depend on the inputs, compute the result once, in __init__, and keep it as a buffer. If "
    'a weight is parametrized, call torch.nn.utils.parametrize.remove_parametrizations(layer, "weight") first. '
    "Otherwise compute it outside the module and make it an input",
)
"""Advice for operators without a translation."""


def untranslated(error: Exception) -> UnsupportedModule:
    """Convert an error of torch.onnx into a refusal that names the operator. Refusals of our translations stay."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, UnsupportedModule):
        return cause
    node = node_in_translation(error)
    said = first_line(str(cause)).rstrip(".")
    if node is None:
        return UnsupportedModule(
            f"the module was captured, but torch.onnx cannot translate it: {type(cause).__name__}: {said}"
        )
    overload = getattr(node.target, "__name__", str(node.target))
    # Users' names: `_pdist_forward.default` is pdist, `special_i0` is i0, `linalg_inv_ex` is inv.
    name = overload.partition(".")[0].strip("_").removesuffix("_forward").removesuffix("_ex")
    name = name.removeprefix("special_").removeprefix("bessel_").removeprefix("linalg_")
    is_unknown = isinstance(cause, torch.onnx.OnnxExporterError)
    why = "does not exist in ONNX" if is_unknown else f"cannot be translated: {said}"
    advice = _WRITE.get(
        name, "write it with operators that can be exported; docs/reference/compatibility.md lists them"
    )
    return UnsupportedModule(f"{name}{line_of(node)} {why}. Instead, {advice}.")
