"""The whole comparison of eager, TorchScript and ONNX: the record of it, or everything that differs."""

import onnx
import torch
from google.protobuf.message import DecodeError
from tqdm import tqdm

from rnnserve.export.limits import limits_for
from rnnserve.export.parity.failure_collector import FailureCollector
from rnnserve.export.parity.input_batches import input_batches
from rnnserve.export.parity.onnx_runner import OnnxRunner
from rnnserve.export.parity.reference import Reference
from rnnserve.export.parity.tensor_checks import check_onnx, check_script
from rnnserve.export.parity.tutorial_equalities import check_tutorial_equalities
from rnnserve.export.parity.value_comparison import ValueComparison
from rnnserve.export.torch_threads import one_thread
from rnnserve.models import Architecture, DirectionClassifier
from rnnserve.protos import manifest_pb2

__all__ = ["prove"]


# These lines are part of every manifest: another wording gives other bytes.
_CHECKS = (
    "torchscript: names, shapes, dtypes, values as in eager, bit for bit",
    "onnx: names, axis names, dtypes, shapes",
    "onnx: single steps from arbitrary states, within a few ulps of eager",
    "onnx: whole random sequences, as near to float64 as eager is",
    "onnx: zeros in output behind each row's length",
    "onnx: labels, wherever float64 is not itself undecided",
)
_WALK_CHECKS = (
    "onnx: logits of walks of 2 to 64 points, within 4e-6 of eager's; states, as near to float64 as eager's",
)


def prove(
    classifier: DirectionClassifier,
    script: torch.jit.ScriptModule,
    onnx_model: bytes,
    *,
    seed: int = 0,
    progress: bool = True,
) -> manifest_pb2.Parity:
    """Prove that a script and an ONNX model compute what a classifier computes in eager mode.

    Args:
        classifier: The module that was exported, in evaluation mode, float32, on the CPU.
        script: Made from it by `torch.jit.script`.
        onnx_model: Made from it by `export_onnx`.
        seed: Of the inputs: the same seed gives the same inputs.
        progress: Whether to show a progress bar on standard error.

    Returns:
        The record: what was compared, and how far apart it was. The same arguments give the same record.

    Raises:
        ParityError: If anything differs; the message has a line for everything that does.
    """
    with one_thread():
        return _prove(classifier, script, onnx_model, seed=seed, progress=progress)


def _prove(
    classifier: DirectionClassifier, script: torch.jit.ScriptModule, onnx_model: bytes, *, seed: int, progress: bool
) -> manifest_pb2.Parity:
    reference = Reference(classifier)
    limits = limits_for("cpu")
    failures = FailureCollector()
    for failure in check_script(script, classifier.architecture):
        failures.add(failure)
    runner = _runner(onnx_model, classifier.architecture, failures)
    comparison = ValueComparison(reference, limits, failures)
    batches = list(input_batches(classifier.architecture, seed))
    for batch in tqdm(batches, desc="parity", unit=" batches", leave=False, disable=not progress):
        comparison.compare(batch, script, runner)
    comparison.judge()
    runner = None if comparison.refused else runner
    equalities = check_tutorial_equalities(reference, runner, limits, failures, seed)
    failures.raise_if_any()
    shapes = [batch.inputs["input"].shape for batch in batches]
    return manifest_pb2.Parity(
        checks=[*_CHECKS, *(_WALK_CHECKS if any(batch.kind == "walk" for batch in batches) else ()), *equalities],
        batch_sizes=sorted({shape[0] for shape in shapes}),
        lengths=sorted({shape[1] for shape in shapes}),
        samples=sum(shape[0] for shape in shapes),
        distances=comparison.distances.record(),
    )


def _runner(onnx_model: bytes, architecture: Architecture, failures: FailureCollector) -> OnnxRunner | None:
    """Load the ONNX model and check its tensors; None where it cannot be loaded."""
    try:
        model = onnx.load_model_from_string(onnx_model)
    except DecodeError as error:
        failures.add(f"onnx: is no ONNX model: {error}")
        return None
    for difference in check_onnx(model, architecture):
        failures.add(difference)
    try:
        return OnnxRunner(onnx_model)
    except RuntimeError as error:
        failures.add(f"onnx: {error}")
        return None
