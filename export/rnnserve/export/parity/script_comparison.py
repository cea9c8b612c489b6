"""Comparing a script with eager: every result of every batch, bit for bit."""

import numpy as np

from rnnserve.export.errors import WrongArguments
from rnnserve.export.flat_module import FlatModule
from rnnserve.export.module_interface import Arrays, ModuleInterface
from rnnserve.export.parity.failure_collector import SCRIPT_BITS, FailureCollector
from rnnserve.export.parity.input_batches import InputBatch
from rnnserve.export.parity.recurrent_results import RecurrentResults, is_same

__all__ = ["compare_script"]


def compare_script(
    script: FlatModule,
    interface: ModuleInterface,
    batch: InputBatch,
    eager: Arrays,
    results: RecurrentResults,
    failures: FailureCollector,
) -> None:
    """Run a script on a batch, and compare its results with eager's.

    Args:
        script: Script of the module.
        interface: Interface of the script.
        batch: Inputs of the model.
        eager: Results of the module for them.
        results: Results of eager's recurrent operators that the script may take.
        failures: Collector to which differences are added.
    """
    try:
        found = results.given_to(lambda: interface.call(script, batch.inputs), eager)
    except WrongArguments:
        failures.add(f"torchscript, names: forward does not give the tensors {', '.join(interface.outputs)}")
        return
    if is_same(found, eager):
        return
    for name, expected in eager.items():
        if not failures.compare_forms("torchscript", name, found[name], expected, batch):
            continue
        if expected.dtype.kind == "f" and not np.array_equal(np.isnan(found[name]), np.isnan(expected)):
            failures.compare_values(SCRIPT_BITS, name, found[name], expected, 0.0, batch)
            continue
        either = [
            np.where(np.isnan(array), 0, array) if array.dtype.kind == "f" else array
            for array in (found[name], expected)
        ]
        same = either[0] == either[1]  # infinities among them, of which no difference can be taken
        pair = [np.where(same, 0, array) for array in either]
        failures.compare_values(SCRIPT_BITS, name, pair[0], pair[1], 0.0, batch)
