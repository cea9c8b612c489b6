"""One version of a model, ready to run."""

import dataclasses
import functools
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnxruntime as ort

from rnnserve.protos import manifest_pb2
from rnnserve.server.batching.batch_arrays import check_shapes, join, rows_of_run, split, split_rows
from rnnserve.server.batching.planning import Cost
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.counting.table import used_table
from rnnserve.server.errors import WrongOutputSize
from rnnserve.server.repository.bound_run import LARGE_RUN_OPTIONS, RUN_OPTIONS, BoundRun
from rnnserve.server.repository.graph_choice import GraphChoice
from rnnserve.server.repository.kernel_errors import KERNEL_ERRORS, reraise
from rnnserve.server.repository.shared_session import Beginning
from rnnserve.server.validation.checked_request import Array, CheckedRequest
from rnnserve.server.validation.signature import Batching, Signature
from rnnserve.server.validation.values import refuse_non_finite

__all__ = ["Model"]

_log = logging.getLogger(__name__)

_MANY_POINTS = 1 << 14
"""Rows * steps of a run after which its memory is given back: that takes little of such a run's time."""


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A version that may serve. Compared by identity, so that it can be a key.

    Attributes:
        name: The repository's folder.
        version: A number, as text.
        manifest: What was proven when it was published.
        signature: Its tensors.
        device: "cpu" or "cuda": where it runs.
        graph: Which of the version's graphs runs, and why.
        nodes: Which nodes run on which provider, counted by operator: {"CPUExecutionProvider": {"RNN": 1, …}}.
        cost: What a run costs here.
        batch_invariant: Whether the bits of an answer were found not to depend on the other requests in its batch.
        trims_outputs: Whether outputs have no more steps than the longest length, where lengths are shorter than the
            inputs.
        continues: Whether a sequence may be cut into parts, each continuing from the final states of the one before.
        why_not_in_parts: Why the server may not keep the states of its sequences; empty where it may.
        goes_by_steps: Whether its requests may be run by steps, while others join and leave.
        refuses_non_finite: Whether answers are refused that are NaN or infinite, in the outputs that may be.
        parity: Summary of what its graph was compared with when published, as JSON; empty where with nothing.
        opset: Version of ONNX's operators that its graph is of; 0 where that is not known.
        session: What runs.
        statistics: Counts of what it has done.
        parts: The same on a graph with states that were found in it, which runs the parts of sequences; None where this
            one does, or none may be sent.
        begin: What adds the states of a beginning to the inputs, where it runs on the session of `parts`.
        faults: What has shown while it served that its manifest is wrong: the first such error, for its status.
    """

    name: str
    version: str
    manifest: manifest_pb2.Manifest
    signature: Signature
    device: str
    graph: GraphChoice
    nodes: Mapping[str, Mapping[str, int]]
    cost: Cost
    session: ort.InferenceSession
    batch_invariant: bool = False
    trims_outputs: bool = False
    continues: bool = False
    why_not_in_parts: str = "it has not been tried"
    goes_by_steps: bool = False
    refuses_non_finite: bool = False
    parity: str = ""
    opset: int = 0
    statistics: Statistics = dataclasses.field(default_factory=Statistics)
    parts: "Model | None" = None
    begin: Beginning | None = None
    faults: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        """Count where `/metrics` are read: of a version that is loaded again, beside what was counted before."""
        self.statistics.count_in(used_table().row(self.name, self.version))

    @property
    def origin(self) -> str:
        """Where it is from: "exported" from a module and compared with it, or "adopted" from an ONNX file, unproven."""
        return "adopted" if self.manifest.origin == manifest_pb2.ORIGIN_ADOPTED else "exported"

    @property
    def about(self) -> dict[str, str]:
        """What metrics say of it beside numbers."""
        batching = self.signature.batching.value
        return {
            "digest8": self.digest[:8],
            "opset": str(self.opset),
            "parity": "proven" if self.parity else "none",
            "origin": self.origin,
            "provider": self.device,
            "graph": self.graph.name,
            "batching": batching,
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the graph that runs, in hexadecimal; empty where the manifest does not have it."""
        return next((file.sha256 for file in self.manifest.files if file.name == self.graph.file), "")

    @functools.cached_property
    def in_steps(self) -> "Model | None":
        """What runs its requests by steps: this model, or its graph with found states; None for neither."""
        model = self.parts or self
        return model if model.goes_by_steps else None

    def run(self, requests: Sequence[CheckedRequest]) -> list[dict[str, Array]]:
        """Run requests as one batch, or a single large request in parts of its rows.

        Returns:
            For each request the outputs that it asked for, by name, in its own shapes.

        Raises:
            InvalidRequest: If onnxruntime refuses their values, or an answer is not finite and has to be.
        """
        if len(requests) == 1 and self.signature.batching is not Batching.ALONE:
            parts = split_rows(requests[0], self.signature, self.cost.max_points)
            if len(parts) > 1:
                return [self._concatenate([self.run([part])[0] for part in parts])]
        points = sum([request.batch for request in requests]) * max([request.steps for request in requests])
        wanted = list(dict.fromkeys(itertools.chain.from_iterable([request.outputs for request in requests])))
        feeds = join(requests, self.signature)
        if points > _MANY_POINTS and self.device == "cpu":
            results = self._run_large(wanted, feeds, requests)
        else:
            results = self.run_arrays(wanted, feeds)
        answers = split(requests, dict(zip(wanted, results, strict=True)), self.signature)
        if self.refuses_non_finite:
            for request, answer in zip(requests, answers, strict=True):
                refuse_non_finite(request, answer, self.signature)
        return answers

    def _concatenate(self, parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        """Put the outputs of a request's parts together, along each output's batch axis."""
        return {
            name: np.concatenate([part[name] for part in parts], axis=self.signature.outputs[name].batch_axis)
            for name in parts[0]
        }

    def _run_large(
        self, names: list[str], feeds: Mapping[str, Array], requests: Sequence[CheckedRequest]
    ) -> list[Array]:
        """Run on the CPU, and keep none of the run's memory for the next one.

        The outputs are arrays of their own, where their shapes are known: those that onnxruntime makes lie in its
        arena, of which a run gives back what is not in use when it ends: 45 MB stayed after answers of 8 MB.
        """
        if self.trims_outputs:
            return self.run_arrays(names, feeds, LARGE_RUN_OPTIONS)
        rows = rows_of_run(self.signature, sum([request.batch for request in requests]))
        sizes = {a: max([request.longest[a] for request in requests]) for a in self.signature.sequence_axes}
        specs = [self.signature.outputs[name] for name in names]
        results = {spec.name: np.empty(spec.shape(rows, sizes), spec.dtype) for spec in specs}
        self.bind(feeds, results, LARGE_RUN_OPTIONS)()
        return list(results.values())

    def run_arrays(
        self, names: list[str], feeds: Mapping[str, Array], options: ort.RunOptions = RUN_OPTIONS
    ) -> list[Array]:
        """Run arrays as they are.

        Args:
            names: The outputs wanted.
            feeds: Every input by name, with as many rows as the signature says for a run.
            options: Options of the run.

        Returns:
            The outputs named, in their order.

        Raises:
            InvalidRequest: If onnxruntime refuses their values.
            WrongOutputSize: If an output has another size than the signature says.
        """
        begun = feeds if self.begin is None else self.begin(feeds)
        try:
            results: list[Array] = self.session.run(names, begun, options)
        except KERNEL_ERRORS as error:
            reraise(error)
        try:
            check_shapes(names, results, feeds, self.signature)
        except WrongOutputSize as error:
            if not self.faults:
                self.faults.append(str(error))
                _log.error("%s version %s: %s", self.name, self.version, error)
            raise
        return results

    def bind(
        self, feeds: Mapping[str, Array], outputs: Mapping[str, Array], options: ort.RunOptions = RUN_OPTIONS
    ) -> Callable[[], None]:
        """Make a run of arrays that stay: each call reads `feeds` and writes `outputs`.

        Args:
            feeds: Every input by name, contiguous, with as many rows as the signature
                says for a run.
            outputs: The outputs wanted by name, contiguous. A run that gives other shapes raises, as `run_arrays` does.
            options: Options of the run.
        """
        if self.device == "cpu":
            begun = feeds if self.begin is None else self.begin(feeds)
            explain = functools.partial(self.run_arrays, list(outputs), feeds)
            return BoundRun(self.session, begun, outputs, options, explain=explain).run

        def run() -> None:
            for array, result in zip(outputs.values(), self.run_arrays(list(outputs), feeds), strict=True):
                array[...] = result

        return run
