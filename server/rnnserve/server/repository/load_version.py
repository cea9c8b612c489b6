"""From an artifact to a model that may serve: loaded, verified on this machine, its cost measured.

A server does this twice: first in a process that the version may crash (`load_checks`), and then in its own process.
The second time, the server runs only the golden cases and reuses the findings of the first.

A version may have a second graph (`PARTS`) with inferred states, which were found in its graph when it was published.
They aren't part of the model's interface. This second graph runs only the requests of sequences, whose states the
server keeps or encrypts.
"""

import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import DEFAULTS, GOLDEN, MANIFEST, PARTS, ArtifactError, Version, read_version
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.golden import Case, load_cases, replay
from rnnserve.protos.protocol_words import BATCH
from rnnserve.protos.recorded_defaults import load_defaults
from rnnserve.server.batching.execution import BatchModel, Cost
from rnnserve.server.errors import StartError, is_of_memory, one_line
from rnnserve.server.repository.findings import (
    FILES,
    NATIVE,
    SCANNED,
    Findings,
    GraphChoice,
    LoadCheck,
    choose_graph,
)
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.providers import new_session, nodes_by_provider
from rnnserve.server.repository.run_checks import (
    Parts,
    goes_by_steps,
    is_batch_invariant,
    trims_outputs,
    try_parts,
)
from rnnserve.server.repository.trial_requests import TrialRequests, as_request
from rnnserve.server.validation.signature import Array, CheckedRequest, Signature
from rnnserve.server.validation.signature_reading import read_signature

__all__ = ["begun_cases", "load_model", "try_version", "with_found_states"]

_log = logging.getLogger(__name__)

_IMPORTED = "the version was imported from an ONNX file and not compared with its framework"

_PARITY_OF = {NATIVE: "parity", SCANNED: "scan_parity"}  # the manifest's record of each graph

_UNMEASURED = Cost(run=0.0, step=0.0, point=0.0, padding=0.0)


def try_version(check: LoadCheck) -> Findings:
    """Load and verify a version as `load_model` does, and return the findings."""
    artifact = _read(check)
    return _Loading(check, artifact, choose_graph(check.graph, artifact, check.device)).check()[1]


def load_model(check: LoadCheck, *, known: Findings | None = None, allow_non_finite: bool = False) -> Model:
    """Load the graph of a version that serves, and verify its digests, its signature and its golden results here.

    With the findings of `try_version` (`known`), only the golden cases are run. Raises ArtifactError or StartError.
    """
    artifact = _read(check, None if known is None else known.graph.file)
    if known is None:
        model, known = _Loading(check, artifact, choose_graph(check.graph, artifact, check.device)).check()
    elif artifact.digest != known.digest:
        raise ArtifactError(f"{MANIFEST}: has changed since the load check of the version; start the server again")
    else:
        loading = _Loading(check, artifact, known.graph)
        parts = None if known.parts is None else loading.model_in_parts()[0]
        model = dataclasses.replace(loading.model()[0], parts=parts)
    model = _with_findings(model, known, allow_non_finite=allow_non_finite)
    if model.parts is not None and known.parts is not None:
        in_parts = _with_findings(model.parts, known.parts, allow_non_finite=allow_non_finite)
        model = dataclasses.replace(model, parts=dataclasses.replace(in_parts, statistics=model.statistics))
    where = f"{check.name} version {check.version}"
    if model.origin == "adopted":
        _log.warning("%s: %s", where, _IMPORTED)
    if not known.batch_invariant:
        _log.warning("%s: on %s, the bits of a response depend on the other requests in its batch", where, check.device)
    return model


def _read(check: LoadCheck, graph_file: str | None = None) -> Version:
    """Read a version and verify its digests. Keep only the graph `graph_file`, or all graphs if it is None."""
    keep = (*(FILES.values() if graph_file is None else (graph_file,)), PARTS, GOLDEN, DEFAULTS)
    # The parity record is read by the load check only.
    with_parity = graph_file is None
    artifact = read_version(check.folder, keep, with_parity=with_parity, inside=check.inside, signed=check.signed)
    if artifact.manifest.origin == manifest_pb2.ORIGIN_ADOPTED and not check.allow_unproven:
        raise ArtifactError(f"{MANIFEST}: {_IMPORTED}; to serve it, use --allow-unproven")
    return artifact


def _with_findings(model: Model, known: Findings, *, allow_non_finite: bool) -> Model:
    """Return the model with the findings of its load check."""
    signature = model.signature
    return dataclasses.replace(
        model,
        signature=signature if known.is_cut else signature.without_cuts(),
        cost=known.cost,
        batch_invariant=known.batch_invariant,
        trims_outputs=known.trims_outputs,
        continues=known.continues,
        why_not_in_parts=known.why_not_in_parts,
        goes_by_steps=known.goes_by_steps,
        # Not in the load check: the requests that it draws may be out of the range that the model is meant for.
        refuses_non_finite=bool(signature.may_be_non_finite) and not allow_non_finite,
    )


class _Loading:
    """A version during its load: its files, the graph to serve, and its device."""

    def __init__(self, check: LoadCheck, artifact: Version, choice: GraphChoice) -> None:
        self._check = check
        self._artifact = artifact
        self._manifest = artifact.manifest
        self._choice = choice
        self._cases = load_cases(artifact.files[GOLDEN])

    def check(self) -> tuple[Model, Findings]:
        """Verify the graph to serve and the graph for parts, if any, and run the other checks on both."""
        model, trials = self.model()
        found = self._findings(model, trials, self._choice.file)
        parts = self._manifest.parts
        reason = parts.reason  # it names the operator
        if found.why_not_in_parts and reason and not parts.not_continued:
            said = f"{reason}: {found.why_not_in_parts}" if model.signature.states else reason
            found = dataclasses.replace(found, why_not_in_parts=said)
        if not parts.file:
            return model, found
        if parts.made_of != self._choice.file:
            made_of, serves = parts.made_of, self._choice.file
            reason = f"{parts.file} was made from {made_of}, but the server uses {serves}, which computes other bits"
            return model, dataclasses.replace(found, why_not_in_parts=reason)
        in_parts, of_parts = self.model_in_parts()
        found = dataclasses.replace(found, parts=self._findings(in_parts, of_parts, PARTS))
        return dataclasses.replace(model, parts=in_parts), found

    def model(self) -> tuple[Model, TrialRequests]:
        return self._load(self._choice.file, self._manifest, self._cases)

    def model_in_parts(self) -> tuple[Model, TrialRequests]:
        """Load the graph that has inferred states, and replay the golden cases from the beginning of sequences."""
        manifest = with_found_states(self._manifest)
        if PARTS not in self._artifact.files:
            raise ArtifactError(f"{MANIFEST}: does not list {PARTS}, although it records states in this file")
        defaults = load_defaults(self._artifact.files, manifest.inputs)
        return self._load(PARTS, manifest, begun_cases(self._cases, self._manifest, defaults))

    def _load(self, file: str, manifest: manifest_pb2.Manifest, cases: Sequence[Case]) -> tuple[Model, TrialRequests]:
        try:
            session = new_session(self._artifact.files[file], self._check.device, self._check.threads)
        except StartError:
            raise
        except Exception as error:
            raise ArtifactError(f"{file}: onnxruntime cannot load it: {one_line(str(error))}") from error
        defaults = load_defaults(self._artifact.files, manifest.inputs)
        signature = read_signature(session.get_inputs(), session.get_outputs(), manifest, file, defaults)
        trials = TrialRequests(signature, cases, compared_steps=max(self._manifest.parity.lengths, default=0))
        model = Model(
            self._check.name,
            self._check.version,
            self._manifest,
            signature.with_shortest(trials.shortest),
            self._check.device,
            self._choice,
            nodes_by_provider(session),
            _UNMEASURED,
            session,
            parity=self._artifact.parity.get(_PARITY_OF[self._choice.name], ""),
        )
        with _said_as(f"{GOLDEN}: {file} does not run these cases on {self._check.device}"):
            _replay(model, cases, file)
        return model, trials

    def _findings(self, model: Model, trials: TrialRequests, file: str) -> Findings:
        """Check by running it which guarantees a model keeps. Its golden results have been verified."""
        # A graph may fail on inputs that differ from its golden cases.
        with _said_as(f"{file}: does not run on inputs like those of its golden cases on {self._check.device}"):
            invariant = is_cut = is_batch_invariant(model.run, model.signature, trials)
            if not invariant:
                # Zeros after each row's length may be -0 if the model multiplies by a mask: then no step is left out.
                whole = model.signature.without_cuts()
                model, trials = dataclasses.replace(model, signature=whole), trials.of(whole)
                invariant = is_batch_invariant(model.run, whole, trials)
            trims = trims_outputs(model, trials)
            reason = model.manifest.parts.not_continued  # a check of few steps can't find this
            parts = Parts(reason, False) if reason else try_parts(model.run, model.signature, trials)
            rounds = 1 if self._check.is_brief else ROUNDS
            cost = measure_cost(model, trials, clock_of_runs(self._check.device, self._check.threads), rounds)
            model = dataclasses.replace(model, cost=cost, batch_invariant=invariant, why_not_in_parts=parts.reason)
            return Findings(
                self._artifact.digest,
                self._choice,
                cost,
                invariant,
                trims,
                parts.continues,
                is_cut,
                parts.reason,
                goes_by_steps(model, trials),
            )


@contextlib.contextmanager
def _said_as(what: str) -> Iterator[None]:
    """Turn every exception of a run into an ArtifactError that begins with `what`."""
    try:
        yield
    except ArtifactError:
        raise
    except Exception as error:
        raise ArtifactError(f"{what}: {type(error).__name__}: {one_line(str(error))}") from error


def _replay(model: Model, cases: Sequence[Case], file: str) -> None:
    """Run the golden cases as requests are run, joined and split, and compare with what eager PyTorch computed."""
    limits = next((at for at in model.manifest.replay_limits if at.device == model.device), None)
    if limits is None:
        raise ArtifactError(f'{MANIFEST}: has no limits for golden results on the device "{model.device}"')
    recorded = {tensor.name for tensor in model.manifest.outputs}  # inferred states have no recorded results

    def compute(inputs: Mapping[str, Array]) -> dict[str, Array]:
        request = as_request(model.signature, inputs)
        (outputs,) = model.run([request])
        for spec in model.signature.outputs.values():
            expected, found = spec.shape(request.batch, request.sizes), outputs[spec.name].shape
            if found != expected:
                raise ArtifactError(f"{file}: {spec} has shape {list(found)}, expected {list(expected)}")
        return {name: array for name, array in outputs.items() if name in recorded}

    failures = replay(cases, compute, limits)
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise ArtifactError(f"{GOLDEN}: {file} does not reproduce these results on {model.device}: {failures[0]}{more}")


def with_found_states(manifest: manifest_pb2.Manifest) -> manifest_pb2.Manifest:
    """Return the manifest with the inferred states of the graph of parts. Raise ArtifactError if they don't fit."""
    parts = manifest.parts
    if parts.file != PARTS:
        raise ArtifactError(f'{MANIFEST}: records states in "{parts.file}"; expected {PARTS}')
    if [tensor.name for tensor in parts.inputs] != [tensor.continues_as for tensor in parts.outputs]:
        raise ArtifactError(f"{MANIFEST}: the initial and final states of {PARTS} must be pairs, in the same order")
    every = manifest_pb2.Manifest()
    every.CopyFrom(manifest)
    every.inputs.extend(parts.inputs)
    every.outputs.extend(parts.outputs)
    return every


def begun_cases(cases: Sequence[Case], manifest: manifest_pb2.Manifest, defaults: Mapping[str, Array]) -> list[Case]:
    """Add initial states to golden cases: from `defaults`, or else zeros."""
    rows_at = {tensor.name: [axis.name for axis in tensor.axes].index(BATCH) for tensor in manifest.inputs}
    begun = []
    for case in cases:
        name, first = next(iter(case.inputs.items()))
        rows = first.shape[rows_at[name]]
        states = {
            tensor.name: np.ascontiguousarray(
                np.broadcast_to(
                    defaults.get(tensor.name, np.zeros((), DTYPES[tensor.datatype])),
                    [rows if axis.size < 0 else axis.size for axis in tensor.axes],
                )
            )
            for tensor in manifest.parts.inputs
        }
        begun.append(dataclasses.replace(case, inputs={**case.inputs, **states}))
    return begun


ROUNDS = 9
"""How often each run is repeated."""

_ROWS = _STEPS = 64
_MOST_STEPS = 4 * _STEPS
"""Most steps of a row in a large run. A row may have several axes: 64 sentences of 64 words are 4,096 steps, and a run
of 14 such documents took more memory than a version may use."""

_MOST_VALUES = 1 << 20
"""Most values in a run of many rows, for a model without sequences: 64 rows of 9 seconds of sound took 600 MB."""


def clock_of_runs(device: str, threads: int) -> Callable[[], float]:
    """Choose the clock of runs: processor time, which other work does not distort, if they take one thread."""
    return time.thread_time if device == "cpu" and threads == 1 else time.perf_counter


def measure_cost(model: BatchModel, trials: TrialRequests, clock: Callable[[], float], rounds: int = ROUNDS) -> Cost:
    """Time a small run, a large one, a long one, and one that is nearly all padding, and solve for the costs.

    The runs alternate, and the shortest time of each counts, because other work on the machine can only add time. A
    slow moment then affects all of them, so their times fit together.

    A large run may need more memory than this process may use, for example attention with a hidden layer for each pair
    of steps. Then a run of half as many rows takes its place, and sets the model's limit for points in a run.
    """
    signature = model.signature
    least, most = trials.sizes(1), large_sizes(signature, trials)
    short, long = signature.steps_of(least), signature.steps_of(most)
    more = long - short
    few, many = trials.rows(2), trials.rows(_many_rows(signature, most))
    is_bounded = False

    def request(rows: int, sizes: Mapping[str, int], *, lengths: str = "") -> CheckedRequest:
        drawn = trials.draw(rows, sizes, lengths=lengths, outputs=tuple(signature.outputs)[:1])
        drawn.longest = sizes  # all steps are run
        return drawn

    while True:
        requests = {"small": request(few, least), "large": request(many, most)}
        if more:
            requests["slim"] = request(few, most)
            if signature.is_padded and many > 1:
                requests["padded"] = request(many, most, lengths="one long")  # kernels make no step that no row has
        try:
            seconds = _shortest_seconds(model, requests, clock, rounds)
            break
        except Exception as error:
            if not is_of_memory(error) or many // 2 <= few:
                raise
            many, is_bounded = many // 2, True
    small, large = seconds["small"], seconds["large"]
    slim = seconds.get("slim", small)
    point = max(large - slim, 0.0) / ((many - few) * long) if many > few else 0.0
    step = max(slim - small - few * more * point, 0.0) / more if more else 0.0
    padding = max(point - (large - seconds["padded"]) / ((many - 1) * more), 0.0) if "padded" in seconds else 0.0
    cost = Cost(run=max(small - short * step - few * short * point, 0.0), step=step, point=point, padding=padding)
    return dataclasses.replace(cost, max_points=many * long) if is_bounded else cost


def large_sizes(signature: Signature, trials: TrialRequests) -> dict[str, int]:
    """Choose the sizes of a large run: fewer along axes within one input, whose steps multiply."""
    steps = _STEPS
    while steps > 1 and signature.steps_of(trials.sizes(steps)) > _MOST_STEPS:
        steps //= 2
    return trials.sizes(steps)


def _many_rows(signature: Signature, sizes: Mapping[str, int]) -> int:
    """Choose the number of rows of a large run: fewer if the model has no sequence axes and its rows are large."""
    if sizes:
        return _ROWS
    values = sum(math.prod(spec.shape(1, sizes)) for spec in signature.inputs.values())
    return min(_ROWS, max(4, _MOST_VALUES // max(values, 1)))


def _shortest_seconds(
    model: BatchModel, requests: Mapping[str, CheckedRequest], clock: Callable[[], float], rounds: int
) -> dict[str, float]:
    """Run each request once a round, and return the shortest time of each, in seconds."""
    shortest = dict.fromkeys(requests, math.inf)
    for _ in range(rounds):
        for name, request in requests.items():
            started = clock()
            model.run([request])
            shortest[name] = min(shortest[name], clock() - started)
    return shortest
