"""From an artifact to a model that may serve: loaded, proven on this machine, its cost measured.

A server does it twice: in a process that the version may end (`trial_worker`), and, if it passes there, in its own.
There only the golden cases are run again; what the other runs have found is known.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import DEFAULTS, GOLDEN, MANIFEST, PARTS, ArtifactError, Version, read_version
from rnnserve.protos.golden import Case, load_cases, replay
from rnnserve.protos.recorded_defaults import load_defaults
from rnnserve.server.batching.batch_arrays import join, rows_of_run
from rnnserve.server.batching.planning import Cost
from rnnserve.server.errors import one_line
from rnnserve.server.repository.continuation import Parts, try_parts
from rnnserve.server.repository.cost_measurement import ROUNDS, clock_of_runs, measure_cost
from rnnserve.server.repository.findings import Findings
from rnnserve.server.repository.found_states import begun_cases, why_not_found, with_found_states
from rnnserve.server.repository.graph_choice import AUTO, FILES, NATIVE, SCANNED, GraphChoice, choose_graph
from rnnserve.server.repository.invariance import is_batch_invariant
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.opset import read_opset
from rnnserve.server.repository.providers import nodes_by_provider, session_of
from rnnserve.server.repository.shared_session import LEAST_BYTES, Beginning, gives_the_same_bits
from rnnserve.server.repository.steps_trial import goes_by_steps
from rnnserve.server.repository.trial_requests import TrialRequests, as_request
from rnnserve.server.validation.checked_request import Array
from rnnserve.server.validation.signature_reading import read_signature

__all__ = ["load_model", "try_version"]

_log = logging.getLogger(__name__)

_ADOPTED = "the version was adopted from an ONNX file, and not compared with its framework"


_Digests = Mapping[str, str]


class _Place(NamedTuple):
    """Where a version runs.

    Attributes:
        device: "cpu" or "cuda".
        threads: Of a run.
    """

    device: str
    threads: int


_UNMEASURED = Cost(run=0.0, step=0.0, point=0.0, padding=0.0)


def try_version(
    folder: Path,
    name: str,
    version: str,
    device: str,
    *,
    graph: str = AUTO,
    allow_unproven: bool = False,
    threads: int = 1,
    inside: Path | None = None,
    signed: _Digests | None = None,
    rounds: int = ROUNDS,
) -> Findings:
    """Load and prove a version as `load_model` does, and return what was found of it.

    Args:
        folder: Folder of the version.
        name: Name of the model.
        version: Number of the version, as text.
        device: "cpu" or "cuda".
        graph: "auto", "native" or "scan", as `Settings.graph`.
        allow_unproven: Whether versions pass, too, that were adopted from an ONNX file and not compared with its
            framework.
        threads: Threads of a run.
        inside: Folder in which its files have to lie, after all links; None: anywhere.
        signed: SHA-256 of its files, as for `load_model`.
        rounds: Number of times that the runs are made by which its cost is measured.

    Raises:
        ArtifactError: If anything about the version does not hold; the message names the file.
        StartError: If the device cannot be had.
    """
    artifact = _read(folder, allow_unproven, inside, signed)
    return _try(artifact, name, version, _Place(device, threads), graph, rounds)[1]


def load_model(
    folder: Path,
    name: str,
    version: str,
    device: str,
    *,
    allow_unproven: bool = False,
    allow_non_finite: bool = False,
    threads: int = 1,
    inside: Path | None = None,
    known: Findings | None = None,
    signed: _Digests | None = None,
) -> Model:
    """Load the graph of a version that serves, and prove it: digests, signature, and the golden results on this device.

    Args:
        folder: Folder of the version.
        name: Name of the model.
        version: Number of the version, as text.
        device: "cpu" or "cuda".
        allow_unproven: Whether versions are loaded, too, that were adopted from an ONNX file and not compared with its
            framework.
        allow_non_finite: Whether answers may be NaN or infinite; refused otherwise.
        threads: Threads of a run.
        inside: Folder in which its files have to lie, after all links; None: anywhere.
        known: Findings of `try_version`. Then only the golden cases are run. None to find it here.
        signed: SHA-256 of its files as they were signed, by name; None where that does not matter.

    Raises:
        ArtifactError: If anything about the version does not hold, or it has changed since it was tried; the message
            names the file.
        StartError: If the device cannot be had.
    """
    artifact = _read(folder, allow_unproven, inside, signed, None if known is None else known.graph.file)
    place = _Place(device, threads)
    if known is None:
        model, known = _try(artifact, name, version, place, AUTO)
    else:
        if artifact.digest != known.digest:
            raise ArtifactError(f"{MANIFEST}: has changed since the version was tried; start the server again")
        cases = load_cases(artifact.files[GOLDEN])
        parts = None if known.parts is None else _proven_parts(artifact, cases, name, version, place, known.graph)[0]
        shared_with = parts if known.shares_session else None
        model, _ = _proven(artifact, cases, name, version, place, known.graph, shared_with)
        model = dataclasses.replace(model, parts=parts)
    model = _with_findings(model, known, allow_non_finite=allow_non_finite)
    if model.parts is not None and known.parts is not None:
        in_parts = _with_findings(model.parts, known.parts, allow_non_finite=allow_non_finite)
        model = dataclasses.replace(model, parts=dataclasses.replace(in_parts, statistics=model.statistics))
    if model.origin == "adopted":
        _log.warning("%s version %s: %s", name, version, _ADOPTED)
    if not known.batch_invariant:
        _log.warning("%s version %s: on %s, an answer's bits depend on the others in its batch", name, version, device)
    return model


def _with_findings(model: Model, known: Findings, *, allow_non_finite: bool) -> Model:
    """Give a model what its trial has shown."""
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
        # Not in the trials: what they draw may be out of the range that the model is meant for.
        refuses_non_finite=bool(signature.may_be_non_finite) and not allow_non_finite,
    )


def _read(
    folder: Path, allow_unproven: bool, inside: Path | None, signed: _Digests | None, graph_file: str | None = None
) -> Version:
    """Read a version whose digests hold, as for `load_model`; `graph_file` is the only graph that is kept, unless None.

    Raises:
        ArtifactError: If it cannot be trusted, or is adopted and may not be.
    """
    keep = (*(FILES.values() if graph_file is None else (graph_file,)), PARTS, GOLDEN, DEFAULTS)
    # The parity record is read by the trial only.
    artifact = read_version(folder, keep, with_parity=graph_file is None, inside=inside, signed=signed)
    if artifact.manifest.origin == manifest_pb2.ORIGIN_ADOPTED and not allow_unproven:
        raise ArtifactError(f"{MANIFEST}: {_ADOPTED}; --allow-unproven serves it")
    return artifact


_PARITY_OF = {NATIVE: "parity", SCANNED: "scan_parity"}
"""The manifest's record of each graph."""


def _try(
    artifact: Version, name: str, version: str, place: _Place, asked: str, rounds: int = ROUNDS
) -> tuple[Model, Findings]:
    """Prove the graph that serves, and find out the rest on it."""
    cases, choice = load_cases(artifact.files[GOLDEN]), choose_graph(asked, artifact, place.device)
    model, trials = _proven(artifact, cases, name, version, place, choice)
    # What a graph does with some inputs it need not do with others.
    with _said_as(f"{choice.file}: does not run on inputs like those of its golden cases on {place.device}"):
        clock = clock_of_runs(place.device, place.threads)
        found = _findings(artifact.digest, model, trials, clock, rounds)
    reason = artifact.manifest.parts.reason  # it names the operator
    if found.why_not_in_parts and reason and not artifact.manifest.parts.not_continued:
        said = f"{reason}: {found.why_not_in_parts}" if model.signature.states else reason
        found = dataclasses.replace(found, why_not_in_parts=said)
    if not artifact.manifest.parts.file:
        return model, found
    reason = why_not_found(artifact.manifest, choice)
    if reason:
        return model, dataclasses.replace(found, why_not_in_parts=reason)
    parts, trials = _proven_parts(artifact, cases, name, version, place, choice)
    with _said_as(f"{PARTS}: does not run on inputs like those of its golden cases on {place.device}"):
        found = dataclasses.replace(found, parts=_findings(artifact.digest, parts, trials, clock, rounds))
    if place.device == "cpu" and len(artifact.files[PARTS]) >= LEAST_BYTES:
        shared, trials = _proven(artifact, cases, name, version, place, choice, parts)
        if gives_the_same_bits(model.run, shared.run, model.signature, cases, trials):
            model, found = shared, dataclasses.replace(found, shares_session=True)
    return dataclasses.replace(model, parts=parts), found


def _proven(
    artifact: Version,
    cases: Sequence[Case],
    name: str,
    version: str,
    place: _Place,
    choice: GraphChoice,
    shared_with: Model | None = None,
) -> tuple[Model, TrialRequests]:
    """Load the graph of a version that serves, or take that with found states, and replay the golden cases on it."""
    return _proven_graph(artifact, cases, name, version, place, choice, choice.file, artifact.manifest, shared_with)


def _proven_parts(
    artifact: Version, cases: Sequence[Case], name: str, version: str, place: _Place, choice: GraphChoice
) -> tuple[Model, TrialRequests]:
    """Load the graph of a version that has found states, and replay the golden cases from where sequences begin."""
    manifest = with_found_states(artifact.manifest)
    if PARTS not in artifact.files:
        raise ArtifactError(f"{MANIFEST}: lists no {PARTS}, in which it has states")
    begun = begun_cases(cases, artifact.manifest, load_defaults(artifact.files, manifest.inputs))
    return _proven_graph(artifact, begun, name, version, place, choice, PARTS, manifest)


def _proven_graph(
    artifact: Version,
    cases: Sequence[Case],
    name: str,
    version: str,
    place: _Place,
    choice: GraphChoice,
    file: str,
    manifest: manifest_pb2.Manifest,
    shared_with: Model | None = None,
) -> tuple[Model, TrialRequests]:
    device = place.device
    begin = None
    if shared_with is None:
        session = session_of(artifact.files, file, device, place.threads)
    else:
        session = shared_with.session
        begin = Beginning(manifest, load_defaults(artifact.files, with_found_states(manifest).inputs))
    defaults = load_defaults(artifact.files, manifest.inputs)
    hidden = {tensor.name for tensor in (*manifest.parts.inputs, *manifest.parts.outputs)} if shared_with else ()
    inputs, outputs = (
        [value for value in values if value.name not in hidden]
        for values in (session.get_inputs(), session.get_outputs())
    )
    signature = read_signature(inputs, outputs, manifest, file, defaults)
    trials = TrialRequests(signature, cases, compared_steps=max(artifact.manifest.parity.lengths, default=0))
    signature = signature.with_shortest(trials.shortest)
    nodes = nodes_by_provider(session)
    model = Model(name, version, artifact.manifest, signature, device, choice, nodes, _UNMEASURED, session, begin=begin)
    parity = artifact.parity.get(_PARITY_OF[choice.name], "")
    model = dataclasses.replace(model, parity=parity, opset=read_opset(artifact.files[choice.file]))
    with _said_as(f"{GOLDEN}: {file} does not run these cases on {device}"):
        _replay(model, cases, file)
    return model, trials


def _findings(
    digest: str,
    model: Model,
    trials: TrialRequests,
    clock: Callable[[], float],
    rounds: int,
) -> Findings:
    invariant = is_batch_invariant(model.run, model.signature, trials)
    is_cut = invariant
    if not invariant:
        # Zeros after each row's length may be -0 where the model multiplies by a mask: then no step is left out.
        whole = model.signature.without_cuts()
        model, trials = dataclasses.replace(model, signature=whole), trials.of(whole)
        invariant = is_batch_invariant(model.run, whole, trials)
    trims = _trims_outputs(model, trials)
    reason = model.manifest.parts.not_continued  # of what a trial of few steps does not show
    parts = Parts(reason, False) if reason else try_parts(model.run, model.signature, trials)
    cost = measure_cost(model, trials, clock, rounds)
    model = dataclasses.replace(model, cost=cost, batch_invariant=invariant, why_not_in_parts=parts.reason)
    by_steps = goes_by_steps(model, trials)
    return Findings(digest, model.graph, cost, invariant, trims, parts.continues, is_cut, parts.reason, by_steps)


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
    """Run the golden cases as requests are run, joined and split, and compare with what eager PyTorch gave."""
    limits = next((at for at in model.manifest.replay_limits if at.device == model.device), None)
    if limits is None:
        raise ArtifactError(f'{MANIFEST}: has no limits for golden results on the device "{model.device}"')

    def compute(inputs: Mapping[str, Array]) -> dict[str, Array]:
        request = as_request(model.signature, inputs)
        (outputs,) = model.run([request])
        for spec in model.signature.outputs.values():
            expected, found = spec.shape(request.batch, request.sizes), outputs[spec.name].shape
            if found != expected:
                raise ArtifactError(f"{file}: {spec} comes out as {list(found)} where {list(expected)} is expected")
        return {name: array for name, array in outputs.items() if name in asked}

    asked = {tensor.name for tensor in model.manifest.outputs}  # of states that were found, no results are recorded
    failures = replay(cases, compute, limits)
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise ArtifactError(f"{GOLDEN}: {file} does not give these results on {model.device}: {failures[0]}{more}")


def _trims_outputs(model: Model, trials: TrialRequests) -> bool:
    """Whether an output has fewer steps than the inputs, where every length is smaller than its axis."""
    signature = model.signature
    sizes = trials.sizes(64)
    rows = trials.rows(2)
    request = trials.draw(rows, sizes, lengths=1)
    request.longest = sizes  # as in a run of requests with one prefix
    feeds = join([request], signature)
    arrays = model.run_arrays(list(signature.outputs), feeds)
    run_rows = rows_of_run(signature, rows)
    return any(
        array.shape != spec.shape(run_rows, sizes)
        for spec, array in zip(signature.outputs.values(), arrays, strict=True)
    )
