"""From an artifact to a model that may serve: loaded, proven on this machine, its cost measured."""

import dataclasses
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, ArtifactError, read_version
from rnnserve.protos.golden import load_cases, replay
from rnnserve.server.batching.cost import Cost
from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.boundary.signature import LENGTHS, Signature, read_signature
from rnnserve.server.errors import StartError, one_line
from rnnserve.server.repository.invariance import is_batch_invariant
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.providers import new_session, nodes_by_provider

__all__ = ["load_model"]

_log = logging.getLogger(__name__)

_UNMEASURED = Cost(run=0.0, step=0.0, point=0.0, padding=0.0)


def load_model(folder: Path, name: str, version: str, device: str) -> Model:
    """Load `<folder>/model.onnx` and prove it: digests, signature, and the golden results on this device.

    Args:
        folder: The version's.
        name: The model's, as its folder is named.
        version: Its number, as text.
        device: "cpu" or "cuda".

    Raises:
        ArtifactError: If anything about the version does not hold; the message names the file.
        StartError: If the device cannot be had.
    """
    artifact = read_version(folder)
    if artifact.manifest.model != name:
        raise ArtifactError(f'{MANIFEST}: is of "{artifact.manifest.model}", but lies in the folder of "{name}"')
    try:
        session = new_session(artifact.files[MODEL], device)
    except StartError:
        raise
    except Exception as error:
        raise ArtifactError(f"{MODEL}: onnxruntime cannot load it: {one_line(str(error))}") from error
    signature = read_signature(session.get_inputs(), session.get_outputs(), artifact.manifest)
    nodes = nodes_by_provider(session)
    model = Model(name, version, artifact.manifest, signature, device, nodes, _UNMEASURED, session)
    _replay(model, artifact.files[GOLDEN])
    invariant = is_batch_invariant(model.run, signature)
    if not invariant:
        _log.warning("%s version %s: on %s, an answer's bits depend on the others in its batch", name, version, device)
    return dataclasses.replace(model, cost=_measure(model), batch_invariant=invariant)


def _replay(model: Model, golden: bytes) -> None:
    """Run the golden cases as requests are run, joined and split, and compare with what eager PyTorch gave."""
    limits = next((at for at in model.manifest.replay_limits if at.device == model.device), None)
    if limits is None:
        raise ArtifactError(f'{MANIFEST}: has no limits for golden results on the device "{model.device}"')
    cases = load_cases(golden)
    try:
        failures = replay(cases, lambda inputs: model.run([_as_request(model.signature, inputs)])[0], limits)
    except Exception as error:
        raise ArtifactError(
            f"{GOLDEN}: {MODEL} does not run these cases on {model.device}: {type(error).__name__}: "
            f"{one_line(str(error))}"
        ) from error
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise ArtifactError(f"{GOLDEN}: {MODEL} does not give these results on {model.device}: {failures[0]}{more}")


def _as_request(signature: Signature, inputs: Mapping[str, Array]) -> CheckedRequest:
    """Inputs of a golden case, by name, as a request for all outputs."""
    batch, sequence = inputs[signature.main.name].shape[:2]
    longest = int(inputs[LENGTHS].max()) if LENGTHS in inputs else sequence
    return CheckedRequest(batch, sequence, longest, inputs, tuple(signature.outputs))


def _measure(model: Model) -> Cost:
    """Time a small run, a long one, a large one, and one that is nearly all padding, and solve for the costs."""
    small, long, large = _seconds(model, 2, 1), _seconds(model, 2, 64), _seconds(model, 64, 64)
    point = max(large - long, 0.0) / (62 * 64)
    step = max(long - small - 126 * point, 0.0) / 63
    padding = math.inf
    if LENGTHS in model.signature.inputs:
        padding = max(point - (large - _seconds(model, 64, 64, length=1)) / (64 * 63), 0.0)
    return Cost(run=max(small - step - 2 * point, 0.0), step=step, point=point, padding=padding)


def _seconds(model: Model, rows: int, steps: int, *, length: int | None = None) -> float:
    """The shortest of nine runs, in seconds: whatever else the machine does can only add to it."""
    main = model.signature.main
    inputs: dict[str, Array] = {main.name: np.zeros(main.shape(rows, steps), main.dtype)}
    if length is not None:
        inputs[LENGTHS] = np.full(rows, length, np.int64)  # (batch)
    request = CheckedRequest(rows, steps, steps, inputs, tuple(model.signature.outputs)[:1])
    times = []
    for _ in range(9):
        started = time.perf_counter()
        model.run([request])
        times.append(time.perf_counter() - started)
    return min(times)
