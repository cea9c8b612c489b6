"""One version of a model, ready to run in onnxruntime, and the meaning of onnxruntime's errors."""

import dataclasses
import functools
import itertools
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

import numpy as np
import onnxruntime as ort

from rnnserve.common.refusing_nodes import refusal_of_node
from rnnserve.protos import manifest_pb2
from rnnserve.server.batching.batch_arrays import check_shapes, join, rows_of_run, split, split_rows
from rnnserve.server.batching.execution import Cost
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.counting.table import used_table
from rnnserve.server.errors import InvalidRequest, WrongOutputSize, one_line
from rnnserve.server.repository.findings import GraphChoice
from rnnserve.server.validation.checking import refuse_non_finite
from rnnserve.server.validation.signature import Array, Batching, CheckedRequest, Signature

__all__ = ["LARGE_RUN_OPTIONS", "RUN_OPTIONS", "Model", "reraise"]

_log = logging.getLogger(__name__)

_MANY_POINTS = 1 << 14
"""Rows * steps of a run after which its memory is released. Releasing takes little of such a run's time."""

_state = ort.capi.onnxruntime_pybind11_state

_KERNEL_ERRORS = (_state.InvalidArgument, _state.RuntimeException, _state.Fail, RuntimeError)
"""Exceptions of a run if a kernel refuses its inputs, or for other reasons. `reraise` distinguishes them. Bound runs
raise RuntimeError."""

_NODE = re.compile(
    r"Non-zero status code returned while running (\S+) node\. Name:'([^']*)' Status Message: (.*)", re.DOTALL
)
_NOT_OF_VALUES = re.compile(r"alloc|out of memory|\b(?:CUDA|CUDNN|CUBLAS)\w* (?:failure|error)", re.IGNORECASE)
"""Failures of a node that don't depend on its inputs: too little memory, or a broken device."""


def _run_options(*, gives_memory_back: bool = False) -> ort.RunOptions:
    options = ort.RunOptions()
    # No graph to capture: without this, onnxruntime's wrapper spends 25 microseconds on a lookup that fails.
    options.add_run_config_entry("gpu_graph_id", "-1")
    if gives_memory_back:
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


RUN_OPTIONS = _run_options()
"""Options of every run, bound or not. They are created once because that costs as much as a small run."""

LARGE_RUN_OPTIONS = _run_options(gives_memory_back=True)
"""Options of a run of many rows or steps on the CPU. onnxruntime keeps a run's memory for the next run. After one
request of 16,384 rows of 64 steps it kept 460 MB for good, and keeps 62 MB with these options."""


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A version that may serve. Compared by identity, so that it can be a key.

    `parts` is the same version on a graph with inferred states, which runs parts of sequences. It is None if this graph
    runs them or if sequences can't be cut. `faults` holds the first error in service that showed a wrong manifest.
    """

    name: str
    version: str  # a number
    manifest: manifest_pb2.Manifest
    signature: Signature
    device: str  # "cpu" or "cuda"
    graph: GraphChoice
    nodes: Mapping[str, Mapping[str, int]]  # as `nodes_by_provider` counts them
    cost: Cost
    session: ort.InferenceSession
    batch_invariant: bool = False  # this and the next four: as in `Findings`
    trims_outputs: bool = False
    continues: bool = False
    why_not_in_parts: str = "it has not been tried"
    goes_by_steps: bool = False
    refuses_non_finite: bool = False  # whether to refuse NaN and infinity in the outputs that may hold them
    parity: str = ""  # summary of the comparison at publishing, as JSON, or empty
    statistics: Statistics = dataclasses.field(default_factory=Statistics)
    parts: "Model | None" = None
    faults: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        """Count for `/metrics`. A version that is loaded again adds to its earlier counts."""
        self.statistics.count_in(used_table().row(self.name, self.version))

    @property
    def origin(self) -> str:
        """Its origin: "exported" from a module and compared with it, or "adopted" (imported) from an ONNX file."""
        return "adopted" if self.manifest.origin == manifest_pb2.ORIGIN_ADOPTED else "exported"

    @property
    def about(self) -> dict[str, str]:
        """The labels that metrics report for it."""
        return {
            "digest8": self.digest[:8],
            "parity": "proven" if self.parity else "none",
            "origin": self.origin,
            "provider": self.device,
            "graph": self.graph.name,
            "batching": self.signature.batching.value,
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the graph that runs, in hexadecimal, or empty if the manifest doesn't have it."""
        return next((file.sha256 for file in self.manifest.files if file.name == self.graph.file), "")

    @functools.cached_property
    def in_steps(self) -> "Model | None":
        """The model for step-level batching: this one, or its graph with inferred states. None for neither."""
        model = self.parts or self
        return model if model.goes_by_steps else None

    def run(self, requests: Sequence[CheckedRequest]) -> list[dict[str, Array]]:
        """Run requests as one batch, or a large one in parts of its rows, and return the outputs of each, by name.

        Raise InvalidRequest if onnxruntime refuses their values, or an answer is not finite and has to be.
        """
        if len(requests) == 1 and self.signature.batching is not Batching.ALONE:
            parts = split_rows(requests[0], self.signature, self.cost.max_points)
            if len(parts) > 1:
                outputs = [self.run([part])[0] for part in parts]
                axes = {name: self.signature.outputs[name].batch_axis for name in outputs[0]}
                return [{name: np.concatenate([each[name] for each in outputs], axis) for name, axis in axes.items()}]
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

    def _run_large(
        self, names: list[str], feeds: Mapping[str, Array], requests: Sequence[CheckedRequest]
    ) -> list[Array]:
        """Run on the CPU, and release the run's memory.

        If the outputs' shapes are known, numpy allocates them. onnxruntime would place them in its arena, and at the
        end of a run the arena releases only unused memory: 45 MB stayed after responses of 8 MB.
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
        """Run arrays as they are: all inputs, padded. Raises InvalidRequest for their values, or WrongOutputSize."""
        try:
            results: list[Array] = self.session.run(names, feeds, options)
        except _KERNEL_ERRORS as error:
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
        """Bind a run to arrays: each call reads `feeds` and writes `outputs`, all of them contiguous.

        The feeds have the signature's number of rows for a run. If outputs have other shapes, a run raises the errors
        of `run_arrays`. On the CPU such a run does no look-ups or allocations: it takes 7.5 microseconds instead of
        10.5 for two rows of a small model, and executes less code with cold caches. Elsewhere onnxruntime copies inputs
        when they are bound, not when it runs.
        """
        if self.device != "cpu":

            def run() -> None:
                for array, result in zip(outputs.values(), self.run_arrays(list(outputs), feeds), strict=True):
                    array[...] = result

            return run
        binding = self.session.io_binding()  # to the arrays' addresses, so `run_bound` has to keep them
        for name, array in feeds.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
        for name, array in outputs.items():
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

        def run_bound() -> None:
            try:
                self.session.run_with_iobinding(binding, options)
            except _KERNEL_ERRORS as error:
                self.run_arrays(list(outputs), feeds)  # which raises a better error, as for outputs of other shapes
                reraise(error)

        return run_bound


def reraise(error: Exception) -> NoReturn:
    """Raise InvalidRequest if a kernel refused the values of a request; otherwise the error itself.

    A kernel checks more than a signature can: that a token id is within a table, or that shapes that depend on values
    fit. Its message names the operator and the value. Paths of onnxruntime's own source are removed.
    """
    refused = _NODE.search(str(error))
    if refused is None or _NOT_OF_VALUES.search(refused[3]):
        raise error
    operator, name, said = refused.groups()
    if why := refusal_of_node(name):
        raise InvalidRequest(
            f"with the values of this request, an axis in the model is empty, so the model computes {why}, which "
            "is an error. Send values that leave at least one element"
        ) from error
    raise InvalidRequest(
        f"onnxruntime cannot compute with the values of this request: {operator}: {one_line(said)}"
    ) from error
