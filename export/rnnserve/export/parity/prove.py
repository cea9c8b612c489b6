"""The whole ladder, climbed once: what holds is recorded, what does not is raised, all of it."""

import onnx
import torch
from google.protobuf.message import DecodeError
from tqdm import tqdm

from rnnserve.export.limits import limits_for
from rnnserve.export.parity.draws import draws
from rnnserve.export.parity.equalities import check_equalities
from rnnserve.export.parity.failures import Failures
from rnnserve.export.parity.interface import check_onnx, check_script
from rnnserve.export.parity.reference import Reference, one_thread
from rnnserve.export.parity.runner import Runner
from rnnserve.export.parity.values import Values
from rnnserve.models import Architecture, DirectionClassifier
from rnnserve.protos import manifest_pb2

__all__ = ["prove"]


def prove(
    classifier: DirectionClassifier,
    script: torch.jit.ScriptModule,
    onnx_model: bytes,
    *,
    seed: int = 0,
    progress: bool = True,
) -> manifest_pb2.Parity:
    """Prove that a script and an ONNX model compute what a classifier does in eager mode.

    Args:
        classifier: the module that was exported, in evaluation mode, float32, on the CPU.
        script: made of it by `torch.jit.script`.
        onnx_model: made of it by `export_onnx`.
        seed: of the inputs: the same seed tries the same ones.
        progress: whether to draw a bar on standard error.

    Returns:
        The record: what was compared, and how far apart it lay. The same arguments give the same record.

    Raises:
        ParityError: what was compared differs; the message has a line for everything that does.
    """
    with one_thread():
        return _climb(classifier, script, onnx_model, seed=seed, progress=progress)


def _climb(
    classifier: DirectionClassifier, script: torch.jit.ScriptModule, onnx_model: bytes, *, seed: int, progress: bool
) -> manifest_pb2.Parity:
    reference = Reference(classifier)
    limits = limits_for("cpu")
    failures = Failures()
    for failure in check_script(script, classifier.architecture):
        failures.add(failure)
    runner = _runner(onnx_model, classifier.architecture, failures)
    values = Values(reference, limits, failures)
    batches = list(draws(classifier.architecture, seed))
    for draw in tqdm(batches, desc="parity", unit=" batches", leave=False, disable=not progress):
        values.compare(draw, script, runner)
    values.judge()
    runner = None if values.refused else runner
    equalities = check_equalities(reference, runner, limits, failures, seed)
    failures.done()
    shapes = [draw.inputs["input"].shape for draw in batches]
    return manifest_pb2.Parity(
        checks=[*_CHECKS, *(_WALKS if any(draw.kind == "walk" for draw in batches) else ()), *equalities],
        batch_sizes=sorted({shape[0] for shape in shapes}),
        lengths=sorted({shape[1] for shape in shapes}),
        samples=sum(shape[0] for shape in shapes),
        distances=values.distances.record(),
    )


_CHECKS = (
    "torchscript: names, shapes, dtypes, values as in eager, bit for bit",
    "onnx: names, axis names, dtypes, shapes",
    "onnx: single steps from arbitrary states, within a few ulps of eager",
    "onnx: whole random sequences, as near to float64 as eager is",
    "onnx: zeros in output behind each row's length",
    "onnx: labels, wherever float64 is not itself undecided",
)
_WALKS = ("onnx: logits of walks of 2 to 64 points, within 4e-6 of eager's; states, as near to float64 as eager's",)


def _runner(onnx_model: bytes, architecture: Architecture, failures: Failures) -> Runner | None:
    """The ONNX model, ready to run; None where it cannot be fed what eager is."""
    try:
        model = onnx.load_model_from_string(onnx_model)
    except DecodeError as error:
        failures.add(f"onnx: is no ONNX model: {error}")
        return None
    for difference in check_onnx(model, architecture):
        failures.add(difference)
    try:
        return Runner(onnx_model)
    except RuntimeError as error:
        failures.add(f"onnx: {error}")
        return None
