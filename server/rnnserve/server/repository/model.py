"""One version of a model, ready to run."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence

import onnxruntime as ort

from rnnserve.protos import manifest_pb2
from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.joining import join, split
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.boundary.signature import Signature
from rnnserve.server.repository.bound_run import RUN_OPTIONS, BoundRun
from rnnserve.server.repository.kernel_errors import KERNEL_ERRORS, reraise

__all__ = ["Model"]


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A version that may serve. Compared by identity, so that it can be a key.

    Attributes:
        name: The repository's folder.
        version: A number, as text.
        manifest: What was proven when it was published.
        signature: Its tensors.
        device: "cpu" or "cuda": where it runs.
        nodes: Which nodes run on which provider, counted by operator: {"CPUExecutionProvider": {"RNN": 1, …}}.
        cost: What a run costs here.
        batch_invariant: Whether the bits of an answer were found not to depend on the other requests in its batch.
        trims_outputs: Whether outputs have no more steps than the longest length, where lengths are shorter than the
            inputs.
        statistics: Counts of what it has done.
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
    trims_outputs: bool = False
    statistics: Statistics = dataclasses.field(default_factory=Statistics)

    @property
    def origin(self) -> str:
        """Where it is from: "exported" from a module and compared with it, or "adopted" from an ONNX file, unproven."""
        return "adopted" if self.manifest.origin == manifest_pb2.ORIGIN_ADOPTED else "exported"

    def run(self, requests: Sequence[CheckedRequest]) -> list[dict[str, Array]]:
        """Run requests as one batch.

        Returns:
            For each request the outputs that it asked for, by name, in its own shapes.
        """
        wanted = list(dict.fromkeys(itertools.chain.from_iterable([request.outputs for request in requests])))
        results = self.run_arrays(wanted, join(requests, self.signature))
        return split(requests, dict(zip(wanted, results, strict=True)), self.signature)

    def run_arrays(self, names: list[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Run arrays as they are.

        Args:
            names: The outputs wanted.
            feeds: Every input by name, with as many rows as the signature says for a run.

        Returns:
            The outputs named, in their order.

        Raises:
            InvalidRequest: If onnxruntime refuses their values.
        """
        try:
            results: list[Array] = self._session.run(names, feeds, RUN_OPTIONS)
        except KERNEL_ERRORS as error:
            reraise(error)
        return results

    def bind(self, feeds: Mapping[str, Array], outputs: Mapping[str, Array]) -> Callable[[], None]:
        """Make a run of arrays that stay: each call reads `feeds` and writes `outputs`.

        Args:
            feeds: Every input by name, contiguous, with as many rows as the signature
                says for a run.
            outputs: The outputs wanted by name, contiguous.
        """
        if self.device == "cpu":
            return BoundRun(self._session, feeds, outputs).run

        def run() -> None:
            for array, result in zip(outputs.values(), self.run_arrays(list(outputs), feeds), strict=True):
                array[...] = result

        return run
