"""From a publication to a described model: everything about the description that can be wrong is reported here.

The module is run a few times, at sizes unlike each other, which tells the axes of its outputs. Nothing is exported yet.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from rnnserve.export.description.described_outputs import describe_outputs
from rnnserve.export.description.described_tensors import (
    ModelDescription,
    check_inputs,
    check_model_name,
    check_states,
    complete_sample,
    name_classes,
    read_initial_values,
)
from rnnserve.export.description.forward_trials import (
    LONGEST,
    Trial,
    bounds_in_words,
    describe_arrays,
    made_lenient,
    refuse_padding_alone,
    try_forward,
)
from rnnserve.export.description.nested_states import read_call
from rnnserve.export.description.omitted_inputs import find_defaults
from rnnserve.export.description.publication import Publication
from rnnserve.export.errors import UnsupportedModule, WrongArguments
from rnnserve.export.first_non_finite import non_finite_advice
from rnnserve.export.flat_module import FlatModule
from rnnserve.export.held_modules import held_values
from rnnserve.export.recurrence.refusals import keeps_state
from rnnserve.export.surroundings import restoring
from rnnserve.export.tensors import Arrays
from rnnserve.export.torch_adapter import written_module
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

__all__ = ["DescribedModel", "describe_model", "evaluating"]

_MOST_HELD = 8
"""Rows that a state may have when a module is published: one, or those of the last batch that it was tried with."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DescribedModel(ModelDescription):
    """A module with the tensors that it takes and gives."""

    module: FlatModule  # around the user's, or around a script
    longest: int = LONGEST  # steps of the longest sequences of the proof, if the description bounds them no closer


def describe_model(publication: Publication) -> DescribedModel:
    """Check a publication's description against its module.

    Raises:
        WrongArguments: If the description does not fit the module; the message says where.
        UnsupportedModule: If such a module cannot be published; the message says what to do.
    """
    check_model_name(publication.name)
    module = _unwrapped(publication.module)
    with evaluating(module):
        read = read_call(module, publication)
    flat, described, states = read.module, read.described, read.states
    initial = read_initial_values(described, states.values())
    inputs = [what.tensor(name, is_state=name in states.values()) for name, what in described.items()]
    sizes = check_inputs(inputs, publication.sizes)
    given = read.outputs
    if isinstance(given, str) or not given or len(set(given)) != len(given):
        raise WrongArguments(f"outputs is {given!r}; expected the name of each tensor that forward returns, each once")
    both = [name for name in given if name in described]
    if both:
        raise WrongArguments(f'"{both[0]}" names an input and an output; name the output otherwise, "{both[0]}_n"')
    _check_numbers(module)
    with evaluating(flat), _naming_kept_states(flat, inputs, sizes):
        refuse_padding_alone(Trial(flat.run, inputs, sizes), described)
        flat = made_lenient(flat, inputs, sizes)

        def compute(arrays: Arrays) -> Arrays:
            return _compute(flat, arrays, allow_non_finite=publication.allow_non_finite)

        outputs = describe_outputs(Trial(compute, inputs, sizes), given, is_settled_later=True)
        longest = try_forward(Trial(flat.run, inputs, sizes), outputs)
        defaults = find_defaults(flat, inputs, sizes, initial)
    check_states(states, inputs, outputs)
    name_classes(publication.labels, outputs)
    if isinstance(publication.samples, Mapping):
        raise WrongArguments("samples is one dict; expected a list of dicts, one for each batch of real inputs")
    samples = [complete_sample(number, sample, inputs, defaults) for number, sample in enumerate(publication.samples)]
    return DescribedModel(
        name=publication.name,
        module=flat,
        inputs=inputs,
        outputs=outputs,
        labels=list(publication.labels),
        samples=samples,
        sizes=sizes,
        longest=longest,
        checkpoint_sha256=publication.checkpoint_sha256,
        allow_non_finite=publication.allow_non_finite,
        defaults=defaults,
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
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while isinstance(module, parallel) or written_module(module) is not module:
        module = module.module if isinstance(module, parallel) else written_module(module)
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.device.type != "cpu":
            raise UnsupportedModule(f"the module's {name} is on {tensor.device}; publish module.cpu()")
        if tensor.dtype == torch.bfloat16:
            raise UnsupportedModule(
                f"the module's {name} is bfloat16, which the Open Inference Protocol does not have; publish "
                "module.float(), which holds the same weights"
            )
    return module


def _check_numbers(module: nn.Module) -> None:
    """Check that no weight is NaN, as training that diverged leaves them. Infinities may be meant: masks have them."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if torch.isnan(tensor.to_dense()).any():
            raise WrongArguments(f"the module's {name} holds NaN, so its results do, too; has training diverged?")


def _compute(module: FlatModule, arrays: Arrays, *, allow_non_finite: bool) -> Arrays:
    try:
        results = module.run(arrays)
    except WrongArguments:
        raise
    except Exception as error:  # whatever the user's module raises
        raise WrongArguments(
            f"forward does not take inputs as described, {describe_arrays(arrays)}: {type(error).__name__}: "
            f"{str(error).rstrip('.')}{bounds_in_words(arrays) if isinstance(error, IndexError) else ''}"
        ) from error
    for name, array in results.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all() and not allow_non_finite:
            raise UnsupportedModule(
                f'output "{name}" holds values that are not finite, of which no distance can be proven'
                f"{non_finite_advice(module, arrays)}"
            )
    return results


@contextlib.contextmanager
def _naming_kept_states(
    module: FlatModule, inputs: Sequence[manifest_pb2.Tensor], sizes: Mapping[str, tuple[int, int]]
) -> Iterator[None]:
    """If the module does not take its inputs in the context, look for a state that it keeps, of the rows of a call.

    It keeps one if it takes some rows after a call with others only if that call is undone, or only as many rows as it
    holds a state of. Then UnsupportedModule names what the call has changed.
    """
    as_now = restoring(module.module)
    try:
        yield
    except WrongArguments as error:
        trial = Trial(module.run, inputs, sizes)

        def takes(rows: int, *, again: bool = False) -> bool:
            for restore in () if again else as_now:
                restore()
            return trial.error(trial.smallest | {BATCH: rows}) is None

        low, high = sizes[BATCH]
        for rows in range(low, min(max(low, _MOST_HELD), high)):
            takes_more = takes(rows + 1)
            for restore in as_now:
                restore()
            before = held_values(module.module)
            if takes(rows) and not takes(rows + 1, again=True):
                names = {
                    name
                    for name, leaves in held_values(module.module).items()
                    for one, other in itertools.zip_longest(before.get(name, []), leaves)
                    if one is not other and (takes_more or _are_of_rows(one, other, rows))
                }
                if names:
                    raise keeps_state(names) from error
                break
        raise


def _are_of_rows(one: object, other: object, rows: int) -> bool:
    return isinstance(one, Tensor) and isinstance(other, Tensor) and one.shape == other.shape and rows in one.shape
