"""Writing a model's config.pbtxt, which Triton and our own server read; `rnnserve.protos.triton_config` reads it."""

import contextlib
import itertools
import os
import secrets
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import text_encoding

from rnnserve.export.errors import WrongArguments
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import DEFAULTS
from rnnserve.protos.protocol_words import BATCH
from rnnserve.protos.triton_config import CONFIG, MissingConfigError, check_tensors, read_config

if TYPE_CHECKING:  # which imports torch
    from rnnserve.export.description.publication import Publication

__all__ = ["check_config", "render_config", "triton_keeps_states", "write_config"]

_Tensors = Sequence[manifest_pb2.Tensor]


def check_config(model: Path, inputs: _Tensors, outputs: _Tensors) -> None:
    """Check that a model's config.pbtxt, where there is one, has the same tensors.

    Raises:
        ConfigError: If it has others.
    """
    with contextlib.suppress(MissingConfigError):  # publishing writes it
        check_tensors(read_config(model), inputs, outputs)


def triton_keeps_states(publication: "Publication", inputs: _Tensors, sizes: Collection[str]) -> bool:
    """Decide whether Triton is to keep a model's states.

    Raises:
        WrongArguments: If it is asked to, and cannot.
    """
    if publication.sequences and not publication.states:
        raise WrongArguments("sequences: the model has no states to keep; name them with states=")
    kept = publication.states.values()
    begin = [t.name for t in inputs if t.name in kept and t.default != manifest_pb2.DEFAULT_ZEROS]
    if publication.sequences and begin:
        raise WrongArguments(
            f'sequences: Triton begins with zeros, and the state "{begin[0]}" of this model begins with its own default'
        )
    if publication.sequences is not None:
        return publication.sequences
    only_states = all(tensor.name in kept for tensor in inputs)  # Triton takes no request without an input
    return bool(publication.states) and set(sizes) == {BATCH} and not begin and not only_states


def render_config(name: str, inputs: _Tensors, outputs: _Tensors, *, keeps_states: bool = False) -> str:
    """Write the text of a model's config.

    Args:
        name: Name of the model.
        inputs: Inputs in order; `dims` are whole shapes, -1 where a request chooses the size.
        outputs: Outputs in order.
        keeps_states: Whether Triton keeps the states between the requests of a sequence. They are no inputs then.
    """
    initial = {tensor.continues_as: tensor for tensor in outputs if tensor.continues_as} if keeps_states else {}
    lines = [
        f"# Written by `rnnserve export`, and left alone from then on: edit it, but for the tensors of {name}.",
        f'name: "{name}"',
        'platform: "onnxruntime_onnx"',
        "",
        "# 0: the dims below are whole shapes. With another number Triton would put a batch axis before them.",
        "max_batch_size: 0",
    ]
    for tensor in inputs:
        if tensor.name in initial:
            continue
        optional = tensor.default in (manifest_pb2.DEFAULT_FULL_LENGTH, manifest_pb2.DEFAULT_ZEROS)
        own = tensor.default == manifest_pb2.DEFAULT_RECORDED
        said = [f"# rnnserve takes the model's own default ({DEFAULTS}) where a request leaves it out; Triton needs it"]
        lines += _block("input", tensor, ["optional: true"] if optional else said if own else [])
    for tensor in outputs:
        lines += _block("output", tensor, [])
    if initial:
        states = [_state(tensor, initial[tensor.name].name) for tensor in inputs if tensor.name in initial]
        lines += ["", "# Every request belongs to a sequence, whose states Triton keeps: zeros at its start."]
        lines += ["sequence_batching {", *itertools.chain.from_iterable(states), "}"]
    lines += ["", "version_policy { latest { num_versions: 1 } }"]
    return "\n".join(lines) + "\n"


def write_config(folder: Path, text: str) -> Path:
    """Write `<folder>/config.pbtxt` completely or not at all, and return its path."""
    temporary = folder / f".{CONFIG}-{secrets.token_hex(8)}"
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return temporary.replace(folder / CONFIG)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _state(tensor: manifest_pb2.Tensor, final: str) -> list[str]:
    """The lines of a state: Triton needs all sizes of its zeros, for which a batch of one is meant."""
    sizes, zeros = (
        ", ".join(str(axis.size if axis.size >= 0 else any_size) for axis in tensor.axes) for any_size in (-1, 1)
    )
    return [
        "  state {",
        f'    input_name: "{_escaped(tensor.name)}"',
        f'    output_name: "{_escaped(final)}"',
        f"    data_type: TYPE_{tensor.datatype}",
        f"    dims: [ {sizes} ]",
        f'    initial_state {{ name: "zeros" data_type: TYPE_{tensor.datatype} dims: [ {zeros} ] zero_data: true }}',
        "  }",
    ]


def _escaped(name: str) -> str:
    """Give a name as text format has it between quotes: an ONNX file may call a tensor anything."""
    return text_encoding.CEscape(name.encode(), as_utf8=True)


def _block(kind: str, tensor: manifest_pb2.Tensor, more: list[str]) -> list[str]:
    sizes = ", ".join(str(axis.size) for axis in tensor.axes)
    fields = [
        f'name: "{_escaped(tensor.name)}"',
        f"data_type: TYPE_{tensor.datatype}",
        f"dims: [ {sizes} ]  # {', '.join(_escaped(axis.name) for axis in tensor.axes)}",
        *more,
    ]
    return ["", f"{kind} {{", *(f"  {field}" for field in fields), "}"]
