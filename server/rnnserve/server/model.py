"""One version of a model, ready to run: loaded from its artifact, proven on this machine, its cost measured."""

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, ArtifactError, read_version
from rnnserve.protos.golden import load_cases, replay
from rnnserve.server.batching import Cost, join, split
from rnnserve.server.bound import RUN_OPTIONS, BoundRun
from rnnserve.server.boundary import Array, Inference
from rnnserve.server.invariance import is_batch_invariant
from rnnserve.server.providers import new_session, nodes_by_provider
from rnnserve.server.signature import LENGTHS, Signature, read_signature
from rnnserve.server.statistics import Statistics

__all__ = ["Model", "load_model"]

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Model:
    """A version that may serve.

    Attributes:
        name: The repository's folder.
        version: A number, as text.
        manifest: What was proven when it was published.
        signature: Its tensors.
        device: "cpu" or "cuda": where it runs.
        nodes: Which nodes run on which provider, counted by operator.
        cost: What a run costs here.
        batch_invariant: Whether the bits of an answer were found not to depend on the others in its batch.
        statistics: What it has done.
    """

    name: str
    version: str
    manifest: manifest_pb2.Manifest
    signature: Signature
    device: str
    nodes: Mapping[str, Mapping[str, int]]
    cost: Cost
    _session: ort.InferenceSession
    batch_invariant: bool = False
    statistics: Statistics = dataclasses.field(default_factory=Statistics)

    def run(self, requests: Sequence[Inference]) -> list[dict[str, Array]]:
        """Run requests as one batch.

        Returns:
            For each request what it asked for, by output name, in its own shapes.
        """
        wanted = list(dict.fromkeys(name for request in requests for name in request.outputs))
        results = self.run_feeds(wanted, join(requests, self.signature))
        return split(requests, dict(zip(wanted, results, strict=True)), self.signature)

    def run_feeds(self, names: list[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Run arrays as they are: every input, with an even number of rows.

        Returns:
            The outputs named, in their order.
        """
        results: list[Array] = self._session.run(names, feeds, RUN_OPTIONS)
        return results

    def bind(self, feeds: Mapping[str, Array], outputs: Mapping[str, Array]) -> Callable[[], None]:
        """Make a run of arrays that stay: it reads `feeds` and writes `outputs`.

        Args:
            feeds: Every input, contiguous, with an even number of rows.
            outputs: Those wanted, contiguous.
        """
        if self.device == "cpu":
            return BoundRun(self._session, feeds, outputs).run

        def run() -> None:
            for array, result in zip(outputs.values(), self.run_feeds(list(outputs), feeds), strict=True):
                array[...] = result

        return run


def load_model(folder: Path, name: str, version: str, device: str) -> Model:
    """Load `<folder>/model.onnx` and hold it to its proof: digests, signature, and the golden results on this device.

    Raises:
        ArtifactError: If anything about the version does not hold; the message names the file.
        StartError: If the device cannot be had.
    """
    artifact = read_version(folder)
    if artifact.manifest.model != name:
        raise ArtifactError(f'{MANIFEST}: is of "{artifact.manifest.model}", but lies in the folder of "{name}"')
    try:
        session = new_session(artifact.files[MODEL], device)
    except (ort.capi.onnxruntime_pybind11_state.Fail, ort.capi.onnxruntime_pybind11_state.InvalidGraph) as error:
        raise ArtifactError(f"{MODEL}: onnxruntime cannot load it: {error}") from error
    signature = read_signature(session.get_inputs(), session.get_outputs(), artifact.manifest)
    unmeasured = Cost(0.0, 0.0, 0.0, 0.0)
    nodes = nodes_by_provider(session)
    model = Model(name, version, artifact.manifest, signature, device, nodes, unmeasured, session)
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
    failures = replay(load_cases(golden), lambda inputs: model.run([_as_request(model.signature, inputs)])[0], limits)
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise ArtifactError(f"{GOLDEN}: {MODEL} does not give these results on {model.device}: {failures[0]}{more}")


def _as_request(signature: Signature, inputs: Mapping[str, Array]) -> Inference:
    batch, sequence = inputs[signature.main.name].shape[:2]
    longest = int(inputs[LENGTHS].max()) if LENGTHS in inputs else sequence
    return Inference(batch, sequence, longest, dict(inputs), tuple(signature.outputs))


def _measure(model: Model) -> Cost:
    """Time a small run, a long one, a large one, and one that is nearly all padding, and solve for the costs."""
    small, long, large = _seconds(model, 2, 1), _seconds(model, 2, 64), _seconds(model, 64, 64)
    point = max(large - long, 0.0) / (62 * 64)
    step = max(long - small - 126 * point, 0.0) / 63
    padding = math.inf
    if LENGTHS in model.signature.inputs:
        padding = max(point - (large - _seconds(model, 64, 64, length=1)) / (64 * 63), 0.0)
    return Cost(max(small - step - 2 * point, 0.0), step, point, padding)


def _seconds(model: Model, rows: int, steps: int, *, length: int | None = None) -> float:
    """The shortest of some runs: whatever else the machine does can only add to it."""
    main = model.signature.main
    inputs: dict[str, Array] = {main.name: np.zeros(main.shape(rows, steps), main.dtype)}
    if length is not None:
        inputs[LENGTHS] = np.full(rows, length, np.int64)
    request = Inference(rows, steps, steps, inputs, tuple(model.signature.outputs)[:1])
    times = []
    for _ in range(9):
        started = time.perf_counter()
        model.run([request])
        times.append(time.perf_counter() - started)
    return min(times)
