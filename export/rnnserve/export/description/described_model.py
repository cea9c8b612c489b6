"""Make a described model from a publication, and report every mistake in the description.

The module is run a few times at unlike sizes to find the axes of its outputs. Nothing is exported yet.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from rnnserve.export.description.described_outputs import describe_outputs, settle_by_runs
from rnnserve.export.description.described_tensors import (
    ModelDescription,
    check_inputs,
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
from rnnserve.export.description.targets import check_model_name
from rnnserve.export.errors import UnsupportedModule, WrongArguments
from rnnserve.export.first_non_finite import non_finite_advice
from rnnserve.export.flat_module import FlatModule
from rnnserve.export.recurrence.carried_state import refuse_carried_state
from rnnserve.export.surroundings import left_as_they_were, restoring
from rnnserve.export.tensors import Arrays
from rnnserve.export.torch_adapter import written_module
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

_MOST_HELD = 8
"""Most rows tried for a kept state. At publication it has one row, or those of the last batch the module ran on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DescribedModel(ModelDescription):
    """A module with its input and output tensors."""

    module: FlatModule  # around the user's module, or around a script
    longest: int = LONGEST  # steps of the longest sequences in verification, if sizes has no smaller limit


def describe_model(publication: Publication) -> DescribedModel:
    """Check a publication's description against its module."""
    check_model_name(publication.name)
    module = _unwrapped(publication.module)
    given = publication.outputs
    if isinstance(given, str) or not given or len(set(given)) != len(given):
        raise WrongArguments(f"outputs is {given!r}; expected a different name for each tensor that forward returns")
    with evaluating(module):
        read = read_call(module, publication)
    flat, described, states = read.module, read.described, read.states
    initial = read_initial_values(described, states.values())
    inputs = [what.tensor(name, is_state=name in states.values()) for name, what in described.items()]
    sizes = check_inputs(inputs, publication.sizes)
    both = [name for name in read.outputs if name in described]
    if both:
        raise WrongArguments(
            f'"{both[0]}" names an input and an output; give the output another name, such as "{both[0]}_n"'
        )
    _check_numbers(module)
    with evaluating(flat), _naming_kept_states(flat, inputs, sizes):
        refuse_padding_alone(Trial(flat.run, inputs, sizes), described)
        flat = made_lenient(flat, Trial(flat.run, inputs, sizes))

        def compute(arrays: Arrays) -> Arrays:
            return _compute(flat, arrays, allow_non_finite=publication.allow_non_finite)

        outputs = describe_outputs(Trial(compute, inputs, sizes), read.outputs)
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


def settle_outputs(model: DescribedModel) -> None:
    """Find the rules of a model's open output axes by runs, if there is no captured program."""

    def compute(arrays: Arrays) -> Arrays:
        return _compute(model.module, arrays, allow_non_finite=True)

    with evaluating(model.module):
        settle_by_runs(Trial(compute, model.inputs, model.sizes), model.outputs)


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
            "the module is a TorchScript module, which has no Python code to export. Publish the original nn.Module"
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
                f"the module's {name} is bfloat16, which the Open Inference Protocol does not support. Publish "
                "module.float(), which holds the same weights"
            )
    return module


def _check_numbers(module: nn.Module) -> None:
    """Check that no weight is NaN, a sign of diverged training. Infinities are allowed, because masks use them."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if torch.isnan(tensor.to_dense()).any():
            raise WrongArguments(f"the module's {name} holds NaN, so the results would be NaN. Has training diverged?")


def _compute(module: FlatModule, arrays: Arrays, *, allow_non_finite: bool) -> Arrays:
    try:
        results = module.run(arrays)
    except WrongArguments:
        raise
    except Exception as error:  # whatever the user's module raises
        raise WrongArguments(
            f"forward does not accept the described inputs, {describe_arrays(arrays)}: {type(error).__name__}: "
            f"{str(error).rstrip('.')}{bounds_in_words(arrays) if isinstance(error, IndexError) else ''}"
        ) from error
    for name, array in results.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all() and not allow_non_finite:
            raise UnsupportedModule(
                f'output "{name}" contains values that are not finite, so the results cannot be '
                f"compared{non_finite_advice(module, arrays)}"
            )
    return results


@contextlib.contextmanager
def _naming_kept_states(
    module: FlatModule, inputs: Sequence[manifest_pb2.Tensor], sizes: Mapping[str, tuple[int, int]]
) -> Iterator[None]:
    """If the module fails in the context because of a state that it keeps, raise an error that names the state."""
    as_now = restoring(module.module)
    try:
        yield
    except WrongArguments:
        for restore in as_now:
            restore()
        trial = Trial(module.run, inputs, sizes)
        low, high = sizes[BATCH]
        for rows in range(low, min(max(low, _MOST_HELD), high) + 1):
            taken = trial.smallest | {BATCH: rows}
            with left_as_they_were(module):
                takes = trial.error(taken) is None
            if takes:
                refuse_carried_state(module, module.arguments(trial.drawn(taken)))
                break
        raise
