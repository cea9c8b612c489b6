"""Comparing a script with eager: the names of its arguments, and every result bit for bit."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from rnnserve.export.errors import WrongArguments
from rnnserve.export.flat_module import FlatModule
from rnnserve.export.module_interface import Arrays, ModuleInterface
from rnnserve.export.parity.failure_collector import SCRIPT_BITS, FailureCollector
from rnnserve.export.parity.input_batches import InputBatch
from rnnserve.protos import manifest_pb2

__all__ = ["check_script", "compare_script"]


def check_script(script: torch.jit.ScriptModule, inputs: Sequence[manifest_pb2.Tensor]) -> Iterator[str]:
    """Compare the names of a script's arguments with the inputs; yields a sentence if they differ.

    An argument with a default may be missing from the inputs. The tensors of a tuple have names of their own, so
    nothing is compared where a tuple is passed.
    """
    forward: Any = script.forward  # typed as a plain callable
    arguments = forward.schema.arguments[1:]
    names = [tensor.name for tensor in inputs]
    known = {argument.name for argument in arguments}
    if any("Tuple" in str(argument.type) for argument in arguments) and not known.issuperset(names):
        return
    found = [argument.name for argument in arguments if argument.name in names or not argument.has_default_value()]
    if found != names:
        takes, expected = (", ".join(f'"{name}"' for name in side) or "none" for side in (found, names))
        yield f"torchscript, names: forward takes {takes}; expected {expected}"


def compare_script(
    script: FlatModule,
    interface: ModuleInterface,
    batch: InputBatch,
    eager: Arrays,
    failures: FailureCollector,
) -> None:
    """Run a script on a batch, and compare its results with eager's.

    Args:
        script: Script of the module.
        interface: Interface of the script.
        batch: Inputs of the model.
        eager: Results of the module for them.
        failures: Collector to which differences are added.
    """
    try:
        found = interface.call(script, batch.inputs)
    except WrongArguments:
        failures.add(f"torchscript, names: forward does not give the tensors {', '.join(interface.outputs)}")
        return
    for name, expected in eager.items():
        if failures.compare_forms("torchscript", name, found[name], expected, batch):
            # Of infinities, which may be the same, no difference can be taken.
            same = (found[name] == expected) | (np.isnan(found[name]) & np.isnan(expected))
            pair = [np.where(same, 0, array) for array in (found[name], expected)]
            failures.compare_values(SCRIPT_BITS, name, pair[0], pair[1], 0.0, batch)
