"""From a publication to a described model: everything about the description that can be wrong is told here.

The module is run a few times, at sizes unlike each other, which tells the axes of its outputs. Nothing is exported yet.
"""

import contextlib
import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import nn

from rnnserve.export.described_tensors import (
    ModelDescription,
    check_inputs,
    check_model_name,
    check_states,
    complete_sample,
    describe_outputs,
    limit_sizes,
    name_classes,
    proof_sizes,
)
from rnnserve.export.description_trials import describe_arrays, try_lengths, try_sizes
from rnnserve.export.descriptions import InputDescription
from rnnserve.export.errors import UnsupportedModule, WrongArguments
from rnnserve.export.finiteness.first_non_finite import non_finite_advice
from rnnserve.export.module_interface import Arrays, Constant, ModuleInterface, Parameter
from rnnserve.export.publication import FurtherCheck, Publication

__all__ = ["DescribedModel", "describe_model", "evaluating"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DescribedModel(ModelDescription):
    """A module with the tensors that it takes and gives.

    Attributes:
        module: The module itself: not compiled, not wrapped.
        interface: How it is called.
        further_checks: Of the publication.
    """

    module: nn.Module
    interface: ModuleInterface
    further_checks: Sequence[FurtherCheck]


def describe_model(publication: Publication) -> DescribedModel:
    """Check a publication's description against its module.

    Raises:
        WrongArguments: If the description does not fit the module; the message says where.
        UnsupportedModule: If such a module cannot be published; the message says what to do.
    """
    check_model_name(publication.name)
    module = _unwrapped(publication.module)
    parameters, described = _parameters(module, publication)
    states = dict(publication.states)
    inputs = [what.tensor(name, is_state=name in states.values()) for name, what in described.items()]
    check_inputs(inputs)
    given = publication.outputs
    if isinstance(given, str) or not given or len(set(given)) != len(given):
        raise WrongArguments(f"outputs is {given!r}; expected the name of each tensor that forward returns, each once")
    both = [name for name in given if name in described]
    if both:
        raise WrongArguments(f'"{both[0]}" names an input and an output; name the output otherwise, "{both[0]}_n"')
    _check_numbers(module)
    interface = ModuleInterface(tuple(parameters), tuple(given))
    limit_sizes(inputs, publication.sizes)
    sizes = proof_sizes(inputs)
    with evaluating(module):
        compute = partial(_compute, module, interface, allow_non_finite=publication.allow_non_finite)
        outputs = describe_outputs(compute, inputs, given, sizes)
        try_sizes(partial(interface.call, module), inputs, sizes)
        try_lengths(partial(interface.call, module), inputs, outputs, sizes)
    check_states(states, inputs, outputs)
    if isinstance(publication.samples, Mapping):
        raise WrongArguments("samples is one dict; expected a list of dicts, one for each batch of real inputs")
    samples = [complete_sample(number, sample, inputs) for number, sample in enumerate(publication.samples)]
    return DescribedModel(
        name=publication.name,
        module=module,
        interface=interface,
        inputs=inputs,
        outputs=outputs,
        labels=list(publication.labels),
        labelled=name_classes(publication.labels, outputs),
        samples=samples,
        sizes=sizes,
        further_checks=publication.further_checks,
        checkpoint_sha256=publication.checkpoint_sha256,
        allow_non_finite=publication.allow_non_finite,
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


def _check_numbers(module: nn.Module) -> None:
    """Check that no weight is NaN, as training that diverged leaves them. Infinities may be meant: masks have them."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.isnan().any():
            raise WrongArguments(f"the module's {name} holds NaN, so its results do, too; has training diverged?")


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
            entries = dict(what) if isinstance(what, Mapping) else {name: what}
            parameters.append(tuple(entries) if isinstance(what, Mapping) else name)
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


def _compute(module: nn.Module, interface: ModuleInterface, arrays: Arrays, *, allow_non_finite: bool) -> Arrays:
    try:
        results = interface.call(module, arrays)
    except WrongArguments:
        raise
    except Exception as error:  # whatever the user's module raises
        raise WrongArguments(
            f"forward does not take inputs as described, {describe_arrays(arrays)}: {type(error).__name__}: {error}"
            f"{_bounds(arrays) if isinstance(error, IndexError) else ''}"
        ) from error
    for name, array in results.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all() and not allow_non_finite:
            raise UnsupportedModule(
                f'output "{name}" holds values that are not finite, of which no distance can be proven'
                f"{non_finite_advice(module, interface, arrays)}"
            )
    return results


def _bounds(arrays: Arrays) -> str:
    """Say which integers were drawn: a table may have fewer entries, or positions."""
    drawn = [f'"{name}" up to {array.max()}' for name, array in arrays.items() if array.dtype.kind in "iu"]
    return (
        f"; it got {', '.join(drawn) or 'no integers'}: is high more than an embedding has entries? Or does the module "
        'take fewer steps: sizes={"sequence": (1, …)}?'
    )
