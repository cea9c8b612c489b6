"""From a publication to a described model: everything about the description that can be wrong is told here.

The module is run a few times, at sizes unlike each other, which tells the axes of its outputs. Nothing is exported yet.
"""

import contextlib
import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from rnnserve.export.descriptions import BATCH, DYNAMIC, InputDescription
from rnnserve.export.errors import UnsupportedModule, WrongArguments
from rnnserve.export.input_drawing import draw_inputs
from rnnserve.export.module_interface import Arrays, Constant, ModuleInterface, Parameter
from rnnserve.export.publication import FurtherCheck, Publication
from rnnserve.export.tensor_shapes import axis_of, sequence_axes, shape_of, sizes_of
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES, datatype_of
from rnnserve.protos.names import is_model_name

__all__ = ["DescribedModel", "describe_model", "evaluating"]

_LARGEST_PROOF = {BATCH: 33}
_LARGEST_SEQUENCE = 128


@dataclasses.dataclass(frozen=True)
class DescribedModel:
    """A module with the tensors that it takes and gives.

    Attributes:
        name: The model's.
        module: The module itself: not compiled, not wrapped.
        interface: How it is called.
        inputs: As a manifest describes them, in the order of forward.
        outputs: Likewise.
        labels: Names of the classes; empty where there are none.
        labelled: The output whose last axis has the classes; empty where there are no labels.
        samples: Given inputs, complete: every input by name.
        sizes: The smallest and the largest size of each dynamic axis that the proof uses.
        further_checks: Of the publication.
        checkpoint_sha256: Of the publication.
    """

    name: str
    module: nn.Module
    interface: ModuleInterface
    inputs: Sequence[manifest_pb2.Tensor]
    outputs: Sequence[manifest_pb2.Tensor]
    labels: Sequence[str]
    labelled: str
    samples: Sequence[Arrays]
    sizes: Mapping[str, tuple[int, int]]
    further_checks: Sequence[FurtherCheck]
    checkpoint_sha256: str


def describe_model(publication: Publication) -> DescribedModel:
    """Check a publication's description against its module.

    Raises:
        WrongArguments: If the description does not fit the module; the message says where.
        UnsupportedModule: If such a module cannot be published; the message says what to do.
    """
    if not is_model_name(publication.name):
        raise WrongArguments(
            f"the name {publication.name!r} cannot be a model's folder: use letters, digits, _, . and -, and begin "
            "with "
            "a letter, a digit or _"
        )
    module = _unwrapped(publication.module)
    parameters, described = _parameters(module, publication)
    states = dict(publication.states)
    inputs = [what.tensor(name, is_state=name in states.values()) for name, what in described.items()]
    _check_inputs(inputs)
    given = publication.outputs
    if isinstance(given, str) or not given or len(set(given)) != len(given):
        raise WrongArguments(f"outputs is {given!r}; expected the name of each tensor that forward returns, each once")
    interface = ModuleInterface(tuple(parameters), tuple(given))
    axes = [BATCH, *sequence_axes(inputs)]
    unknown = sorted(set(publication.sizes) - set(axes))
    if unknown:
        raise WrongArguments(f"sizes names the axes {unknown}; the dynamic axes are {axes}")
    sizes = {axis: publication.sizes.get(axis, (1, _LARGEST_PROOF.get(axis, _LARGEST_SEQUENCE))) for axis in axes}
    with evaluating(module):
        outputs = _describe_outputs(module, interface, inputs, given, sizes)
    _check_states(states, inputs, outputs)
    samples = [_complete_sample(number, sample, inputs) for number, sample in enumerate(publication.samples)]
    return DescribedModel(
        name=publication.name,
        module=module,
        interface=interface,
        inputs=inputs,
        outputs=outputs,
        labels=list(publication.labels),
        labelled=_name_classes(publication.labels, outputs),
        samples=samples,
        sizes=sizes,
        further_checks=publication.further_checks,
        checkpoint_sha256=publication.checkpoint_sha256,
    )


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode in the context, and restore its training flags afterwards."""
    training = [(submodule, submodule.training) for submodule in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for submodule, flag in training:
            submodule.training = flag


def _unwrapped(module: nn.Module) -> nn.Module:
    if isinstance(module, torch.jit.ScriptModule):
        raise UnsupportedModule(
            "the module is a TorchScript module, which has no Python code to export; publish the nn.Module that was "
            "scripted"
        )
    if not isinstance(module, nn.Module):
        raise WrongArguments(f"publish got a {type(module).__name__}; expected an nn.Module")
    while isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel | torch._dynamo.OptimizedModule):  # noqa: SLF001 - what torch.compile gives
        module = module._orig_mod if isinstance(module, torch._dynamo.OptimizedModule) else module.module  # noqa: SLF001
    tensors = [*module.named_parameters(), *module.named_buffers()]
    for name, tensor in tensors:
        if tensor.device.type != "cpu":
            raise UnsupportedModule(f"the module's {name} is on {tensor.device}; publish module.cpu()")
        if tensor.dtype == torch.bfloat16:
            raise UnsupportedModule(
                f"the module's {name} is bfloat16, which the Open Inference Protocol does not have; publish "
                "module.float(), "
                "which holds the same weights"
            )
    return module


def _parameters(module: nn.Module, publication: Publication) -> tuple[list[Parameter], dict[str, InputDescription]]:
    """Read which parameters of forward are passed; describe every tensor among them by name."""
    signature = inspect.signature(module.forward)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    known = {name: parameter for name, parameter in signature.parameters.items() if parameter.kind in kinds}
    wanted = list(publication.inputs)
    for name in wanted:
        if name not in known:
            raise WrongArguments(
                f'inputs names "{name}", which is no parameter of {type(module).__name__}.forward; it has '
                f"{', '.join(known) or 'none'}"
            )
    if wanted != [name for name in known if name in wanted]:
        raise WrongArguments(f"inputs has the order {wanted}; expected that of forward: {', '.join(known)}")
    parameters: list[Parameter] = []
    described: dict[str, InputDescription] = {}
    last = max((number for number, name in enumerate(known) if name in wanted), default=-1)
    for number, (name, parameter) in enumerate(known.items()):
        if name in wanted:
            what = publication.inputs[name]
            entries = {name: what} if isinstance(what, InputDescription) else dict(what)
            parameters.append(name if isinstance(what, InputDescription) else tuple(entries))
            for tensor, description in entries.items():
                if not isinstance(description, InputDescription):
                    raise WrongArguments(
                        f'inputs["{name}"] is a {type(description).__name__}; expected Floats(…), Integers(…), '
                        "Lengths(…) or "
                        "Flags(…)"
                    )
                if tensor in described:
                    raise WrongArguments(f'inputs describes "{tensor}" twice')
                described[tensor] = description
        elif parameter.default is inspect.Parameter.empty:
            raise WrongArguments(f'inputs does not describe "{name}", which forward needs: it has no default')
        elif number < last:
            parameters.append(Constant(parameter.default))
    if not described:
        raise WrongArguments("inputs describes no tensor; a model takes one at least")
    return parameters, described


def _check_inputs(inputs: Sequence[manifest_pb2.Tensor]) -> None:
    fixed = {axis.name for tensor in inputs for axis in tensor.axes if axis.size != DYNAMIC}
    axes = sequence_axes(inputs)
    for tensor in inputs:
        if axis_of(tensor, BATCH) is None:
            raise WrongArguments(
                f'input "{tensor.name}" has no axis "{BATCH}", so requests could not share a run; give it one, or '
                "make it a "
                "constant of the module"
            )
        if tensor.lengths_of and tensor.lengths_of not in axes:
            raise WrongArguments(
                f'input "{tensor.name}" holds lengths of "{tensor.lengths_of}", which is no dynamic axis; there are '
                f"{', '.join(axes) or 'none'}"
            )
    twice = [axis for axis in axes if axis in fixed]
    if twice:
        raise WrongArguments(f'the axis "{twice[0]}" is dynamic in one input and fixed in another; use two names')
    lengths = [tensor.lengths_of for tensor in inputs if tensor.lengths_of]
    if len(set(lengths)) != len(lengths):
        raise WrongArguments(f"two inputs hold the lengths of one axis: {', '.join(lengths)}")


def _probing_sizes(sizes: Mapping[str, tuple[int, int]]) -> list[dict[str, int]]:
    """Two sizes for each axis, unlike each other and unlike those of the other axes, as far as the bounds allow."""
    return [
        {axis: min(low + 2 + 2 * number + 5 * turn, high) for number, (axis, (low, high)) in enumerate(sizes.items())}
        for turn in range(2)
    ]


def _describe_outputs(
    module: nn.Module,
    interface: ModuleInterface,
    inputs: Sequence[manifest_pb2.Tensor],
    given: Sequence[str] | Mapping[str, InputDescription],
    sizes: Mapping[str, tuple[int, int]],
) -> list[manifest_pb2.Tensor]:
    probes = _probing_sizes(sizes)
    results = [_probe(module, interface, inputs, probe) for probe in probes]
    outputs = []
    for name in given:
        first, second = (result[name] for result in results)
        datatype = datatype_of(first.dtype)
        if datatype is None:
            raise UnsupportedModule(f'output "{name}" is {first.dtype}; models give booleans, integers and floats')
        if first.ndim != second.ndim:
            raise UnsupportedModule(
                f'output "{name}" has shape {first.shape} or {second.shape}, by the size of the inputs'
            )
        tensor = manifest_pb2.Tensor(name=name, datatype=datatype)
        for at, pair in enumerate(zip(first.shape, second.shape, strict=True)):
            dynamic = [axis for axis in probes[0] if (probes[0][axis], probes[1][axis]) == pair]
            if pair[0] == pair[1]:
                tensor.axes.add(name=f"axis {at}", size=pair[0])
            elif dynamic:
                tensor.axes.add(name=dynamic[0], size=DYNAMIC)
            else:
                raise UnsupportedModule(
                    f'axis {at} of output "{name}" is {pair[0]} for {probes[0]} and {pair[1]} for {probes[1]}: '
                    "neither fixed nor "
                    "as large as an axis of the inputs, so the server could not divide it among requests"
                )
        if axis_of(tensor, BATCH) is None:
            raise UnsupportedModule(
                f'output "{name}" of shape {list(first.shape)} has no axis as large as the batch, so it could not be '
                "divided among "
                "requests; leave it out, or return a row of it for each row of the inputs"
            )
        if isinstance(given, Mapping):
            _name_axes(tensor, given[name])
        outputs.append(tensor)
    return outputs


def _probe(
    module: nn.Module, interface: ModuleInterface, inputs: Sequence[manifest_pb2.Tensor], sizes: Mapping[str, int]
) -> Arrays:
    arrays = draw_inputs(inputs, np.random.default_rng(0), sizes)
    try:
        return interface.call(module, arrays)
    except WrongArguments:
        raise
    except Exception as error:  # whatever the user's module raises
        shapes = ", ".join(f"{name} {list(array.shape)} {array.dtype}" for name, array in arrays.items())
        raise WrongArguments(
            f"forward does not take inputs as described, {shapes}: {type(error).__name__}: {error}"
        ) from error


def _name_axes(tensor: manifest_pb2.Tensor, described: InputDescription) -> None:
    found = [axis.name if axis.size == DYNAMIC else axis.size for axis in tensor.axes]
    expected = [name if size == DYNAMIC else size for name, size in described.axes]
    if found != expected or DTYPES[tensor.datatype] != described.dtype:
        raise WrongArguments(
            f'outputs["{tensor.name}"] describes {described.dtype} {expected}; forward gives '
            f"{DTYPES[tensor.datatype]} {found}"
        )
    for axis, (name, _) in zip(tensor.axes, described.axes, strict=True):
        axis.name = name


def _check_states(
    states: Mapping[str, str], inputs: Sequence[manifest_pb2.Tensor], outputs: Sequence[manifest_pb2.Tensor]
) -> None:
    """Check what continues as what, mark the outputs, and give a state's fixed axes the names of the input's."""
    by_name = {tensor.name: tensor for tensor in inputs}
    known = {tensor.name: tensor for tensor in outputs}
    for final, initial in states.items():
        for kind, name, there in (("output", final, known), ("input", initial, by_name)):
            if name not in there:
                raise WrongArguments(f'states names the {kind} "{name}"; the {kind}s are {", ".join(there)}')
        output, input = known[final], by_name[initial]
        if [axis.size for axis in output.axes] != [axis.size for axis in input.axes]:
            raise WrongArguments(
                f'states: "{final}" continues as "{initial}", but has axes {[a.size for a in output.axes]} where the '
                "input has "
                f"{[a.size for a in input.axes]}"
            )
        output.continues_as = initial
        for axis, of_input in zip(output.axes, input.axes, strict=True):
            axis.name = of_input.name
    if len(set(states.values())) != len(states):
        raise WrongArguments(f"states: two outputs continue as one input: {dict(states)}")


def _name_classes(labels: Sequence[str], outputs: Sequence[manifest_pb2.Tensor]) -> str:
    if not labels:
        return ""
    if isinstance(labels, str) or len(set(labels)) != len(labels) or not all(labels):
        raise WrongArguments(f"labels is {labels!r}; expected a different name for each class")
    for tensor in outputs:
        if tensor.axes[-1].size == len(labels) and not tensor.continues_as and tensor.datatype.startswith("FP"):
            tensor.axes[-1].name = "classes"
            return tensor.name
    shapes = "; ".join(f'"{t.name}" {[axis.size for axis in t.axes]}' for t in outputs)
    raise WrongArguments(f"labels has {len(labels)} names, but no output has a last axis of that size: {shapes}")


def _complete_sample(number: int, sample: Mapping[str, Any], inputs: Sequence[manifest_pb2.Tensor]) -> Arrays:
    """Check a given sample, and fill in lengths and states that it leaves out."""
    known = [tensor.name for tensor in inputs]
    unknown = [name for name in sample if name not in known]
    if unknown:
        raise WrongArguments(f'samples[{number}] has "{unknown[0]}"; the inputs are {", ".join(known)}')
    arrays: Arrays = {}
    for tensor in inputs:
        if tensor.name in sample:
            array = np.asarray(sample[tensor.name])
            dtype = DTYPES[tensor.datatype]
            cast = array.astype(dtype)
            if not np.array_equal(cast, array) and array.dtype.kind != "f":
                raise WrongArguments(f'samples[{number}]["{tensor.name}"] is {array.dtype}; expected {dtype}')
            arrays[tensor.name] = cast
    sizes = sizes_of(inputs, arrays)
    for tensor in inputs:
        if tensor.name not in arrays:
            if tensor.default == manifest_pb2.DEFAULT_REQUIRED:
                raise WrongArguments(f'samples[{number}] has no "{tensor.name}", which is neither a state nor lengths')
            fill = sizes[tensor.lengths_of] if tensor.lengths_of else 0
            arrays[tensor.name] = np.full(shape_of(tensor, sizes), fill, DTYPES[tensor.datatype])
        found, expected = arrays[tensor.name].shape, shape_of(tensor, sizes)
        if found != expected:
            raise WrongArguments(
                f'samples[{number}]["{tensor.name}"] has shape {list(found)}; expected {list(expected)}, '
                f"({', '.join(axis.name for axis in tensor.axes)})"
            )
        if (
            tensor.lengths_of
            and not ((arrays[tensor.name] >= 1) & (arrays[tensor.name] <= sizes[tensor.lengths_of])).all()
        ):
            raise WrongArguments(
                f'samples[{number}]["{tensor.name}"] has a length outside 1..{sizes[tensor.lengths_of]}'
            )
    return {name: arrays[name] for name in known}
