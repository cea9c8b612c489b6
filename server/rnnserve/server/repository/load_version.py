"""From an artifact to a model that may serve: loaded, verified on this machine, its cost measured.

A server does it twice: in a process that the version may end (`load_checks`), and, if it passes there, in its own.
There only the golden cases are run again; what the other runs have found is known.

A version may have a second graph (`PARTS`) with inferred states: states that were found in its graph when it was
published. They are not part of the model's interface. That graph runs the requests of sequences, whose states the
server keeps, or seals, and no others.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import DEFAULTS, GOLDEN, MANIFEST, PARTS, ArtifactError, Version, read_version
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.golden import Case, load_cases, replay
from rnnserve.protos.protocol_words import BATCH
from rnnserve.protos.recorded_defaults import load_defaults
from rnnserve.server.batching.planning import Cost
from rnnserve.server.errors import StartError, one_line
from rnnserve.server.repository.cost_measurement import ROUNDS, clock_of_runs, measure_cost
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
from rnnserve.server.validation.checked_request import Array
from rnnserve.server.validation.signature_reading import read_signature

__all__ = ["begun_cases", "load_model", "try_version", "with_found_states"]

_log = logging.getLogger(__name__)

_ADOPTED = "the version was adopted from an ONNX file, and not compared with its framework"

_PARITY_OF = {NATIVE: "parity", SCANNED: "scan_parity"}  # the manifest's record of each graph

_UNMEASURED = Cost(run=0.0, step=0.0, point=0.0, padding=0.0)


def try_version(check: LoadCheck) -> Findings:
    """Load and verify a version as `load_model` does, and return what was found of it."""
    artifact = _read(check)
    return _Loading(check, artifact, choose_graph(check.graph, artifact, check.device)).check()[1]


def load_model(check: LoadCheck, *, known: Findings | None = None, allow_non_finite: bool = False) -> Model:
    """Load the graph of a version that serves, and verify its digests, its signature and its golden results here.

    With the findings of `try_version` (`known`), only the golden cases are run. Raises ArtifactError, which names the
    file, if anything does not hold or the version has changed since it was tried, and StartError for no device.
    """
    artifact = _read(check, None if known is None else known.graph.file)
    if known is None:
        model, known = _Loading(check, artifact, choose_graph(check.graph, artifact, check.device)).check()
    elif artifact.digest != known.digest:
        raise ArtifactError(f"{MANIFEST}: has changed since the version was tried; start the server again")
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
        _log.warning("%s: %s", where, _ADOPTED)
    if not known.batch_invariant:
        _log.warning("%s: on %s, an answer's bits depend on the others in its batch", where, check.device)
    return model


def _read(check: LoadCheck, graph_file: str | None = None) -> Version:
    """Read a version whose digests hold; `graph_file` is the only graph that is kept, unless it is None."""
    keep = (*(FILES.values() if graph_file is None else (graph_file,)), PARTS, GOLDEN, DEFAULTS)
    # The parity record is read by the load check only.
    with_parity = graph_file is None
    artifact = read_version(check.folder, keep, with_parity=with_parity, inside=check.inside, signed=check.signed)
    if artifact.manifest.origin == manifest_pb2.ORIGIN_ADOPTED and not check.allow_unproven:
        raise ArtifactError(f"{MANIFEST}: {_ADOPTED}; --allow-unproven serves it")
    return artifact


def _with_findings(model: Model, known: Findings, *, allow_non_finite: bool) -> Model:
    """Return the model with what its load check has shown."""
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
    """A version that is being loaded: its files, the graph that serves, and where it runs."""

    def __init__(self, check: LoadCheck, artifact: Version, choice: GraphChoice) -> None:
        self._check = check
        self._artifact = artifact
        self._manifest = artifact.manifest
        self._choice = choice
        self._cases = load_cases(artifact.files[GOLDEN])

    def check(self) -> tuple[Model, Findings]:
        """Verify the graph that serves, and the one of parts if there is one, and find out the rest on them."""
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
            reason = f"{parts.file} is made of {made_of}, and {serves} serves, whose answers have other bits"
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
            raise ArtifactError(f"{MANIFEST}: lists no {PARTS}, in which it has states")
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
        """Find out by runs what holds of a model whose golden results hold."""
        # What a graph does with some inputs it need not do with others.
        with _said_as(f"{file}: does not run on inputs like those of its golden cases on {self._check.device}"):
            invariant = is_cut = is_batch_invariant(model.run, model.signature, trials)
            if not invariant:
                # Zeros after each row's length may be -0 if the model multiplies by a mask: then no step is left out.
                whole = model.signature.without_cuts()
                model, trials = dataclasses.replace(model, signature=whole), trials.of(whole)
                invariant = is_batch_invariant(model.run, whole, trials)
            trims = trims_outputs(model, trials)
            reason = model.manifest.parts.not_continued  # what a trial of few steps does not show
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
    """Turn whatever a run raises into an ArtifactError that begins with `what`."""
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
    recorded = {tensor.name for tensor in model.manifest.outputs}  # of inferred states, no results are recorded

    def compute(inputs: Mapping[str, Array]) -> dict[str, Array]:
        request = as_request(model.signature, inputs)
        (outputs,) = model.run([request])
        for spec in model.signature.outputs.values():
            expected, found = spec.shape(request.batch, request.sizes), outputs[spec.name].shape
            if found != expected:
                raise ArtifactError(f"{file}: {spec} comes out as {list(found)} where {list(expected)} is expected")
        return {name: array for name, array in outputs.items() if name in recorded}

    failures = replay(cases, compute, limits)
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise ArtifactError(f"{GOLDEN}: {file} does not give these results on {model.device}: {failures[0]}{more}")


def with_found_states(manifest: manifest_pb2.Manifest) -> manifest_pb2.Manifest:
    """Return the manifest with the inferred states among its inputs and outputs, as the graph of parts has them.

    Raise ArtifactError if it names another file, or a state is not paired.
    """
    parts = manifest.parts
    if parts.file != PARTS:
        raise ArtifactError(f'{MANIFEST}: has states in "{parts.file}"; expected {PARTS}')
    if [tensor.name for tensor in parts.inputs] != [tensor.continues_as for tensor in parts.outputs]:
        raise ArtifactError(f"{MANIFEST}: the states of {PARTS} are not paired, initial with final ones, in order")
    every = manifest_pb2.Manifest()
    every.CopyFrom(manifest)
    every.inputs.extend(parts.inputs)
    every.outputs.extend(parts.outputs)
    return every


def begun_cases(cases: Sequence[Case], manifest: manifest_pb2.Manifest, defaults: Mapping[str, Array]) -> list[Case]:
    """Add the states with which a sequence begins to golden cases: those of `defaults`, else zeros."""
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
