"""From an artifact to a model that may serve: loaded, proven on this machine, its cost measured.

A server does it twice: in a process that the version may end (`trial_worker`), and, if it passes there, in its own.
There only the golden cases are run again; what the other runs have found is known.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, ArtifactError, read_version
from rnnserve.protos.golden import Case, load_cases, replay
from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.joining import join, rows_of_run
from rnnserve.server.boundary.checked_request import Array
from rnnserve.server.boundary.signature_reading import read_signature
from rnnserve.server.errors import StartError, one_line
from rnnserve.server.repository.continuation import try_parts
from rnnserve.server.repository.cost_measurement import measure_cost
from rnnserve.server.repository.findings import Findings
from rnnserve.server.repository.invariance import is_batch_invariant
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.providers import new_session, nodes_by_provider
from rnnserve.server.repository.trial_requests import TrialRequests, as_request

__all__ = ["load_model", "try_version"]

_log = logging.getLogger(__name__)

_ADOPTED = "the version was adopted from an ONNX file, and not compared with its framework"

_UNMEASURED = Cost(run=0.0, step=0.0, point=0.0, padding=0.0)


def try_version(folder: Path, name: str, version: str, device: str, *, allow_unproven: bool = False) -> Findings:
    """Load and prove a version as `load_model` does, and return what was found of it.

    Raises:
        ArtifactError: If anything about the version does not hold; the message names the file.
        StartError: If the device cannot be had.
    """
    return _load(folder, name, version, device, allow_unproven, None)[1]


def load_model(
    folder: Path,
    name: str,
    version: str,
    device: str,
    *,
    allow_unproven: bool = False,
    known: Findings | None = None,
) -> Model:
    """Load `<folder>/model.onnx` and prove it: digests, signature, and the golden results on this device.

    Args:
        folder: The version's.
        name: The model's, as its folder is named.
        version: Its number, as text.
        device: "cpu" or "cuda".
        allow_unproven: Load versions, too, that were adopted from an ONNX file and not compared with its framework.
        known: What `try_version` has found. Then only the golden cases are run.

    Raises:
        ArtifactError: If anything about the version does not hold, or it has changed since it was tried; the message
            names the file.
        StartError: If the device cannot be had.
    """
    return _load(folder, name, version, device, allow_unproven, known)[0]


def _load(
    folder: Path, name: str, version: str, device: str, allow_unproven: bool, known: Findings | None
) -> tuple[Model, Findings]:
    artifact = read_version(folder, keep=(MODEL, GOLDEN))
    if known is not None and artifact.digest != known.digest:
        raise ArtifactError(f"{MANIFEST}: has changed since the version was tried; start the server again")
    if artifact.manifest.model != name:
        raise ArtifactError(f'{MANIFEST}: is of "{artifact.manifest.model}", but lies in the folder of "{name}"')
    is_adopted = artifact.manifest.origin == manifest_pb2.ORIGIN_ADOPTED
    if is_adopted and not allow_unproven:
        raise ArtifactError(f"{MANIFEST}: {_ADOPTED}; --allow-unproven serves it")
    try:
        session = new_session(artifact.files[MODEL], device)
    except StartError:
        raise
    except Exception as error:
        raise ArtifactError(f"{MODEL}: onnxruntime cannot load it: {one_line(str(error))}") from error
    signature = read_signature(session.get_inputs(), session.get_outputs(), artifact.manifest)
    cases = load_cases(artifact.files[GOLDEN])
    trials = TrialRequests(signature, cases)
    signature = signature.with_shortest(trials.shortest)
    nodes = nodes_by_provider(session)
    model = Model(name, version, artifact.manifest, signature, device, nodes, _UNMEASURED, session)
    with _said_as(f"{GOLDEN}: {MODEL} does not run these cases on {device}"):
        _replay(model, cases)
    if known is None:
        with _said_as(f"{MODEL}: does not run on inputs like those of its golden cases on {device}"):
            known = _findings(artifact.digest, model, cases, trials)
    model = dataclasses.replace(
        model,
        signature=signature if known.is_cut else signature.without_cuts(),
        cost=known.cost,
        batch_invariant=known.batch_invariant,
        trims_outputs=known.trims_outputs,
        continues=known.continues,
        why_not_in_parts=known.why_not_in_parts,
    )
    if is_adopted:
        _log.warning("%s version %s: %s", name, version, _ADOPTED)
    if not known.batch_invariant:
        _log.warning("%s version %s: on %s, an answer's bits depend on the others in its batch", name, version, device)
    return model, known


def _findings(digest: str, model: Model, cases: Sequence[Case], trials: TrialRequests) -> Findings:
    """Run requests that are drawn; what a graph does with some inputs it need not do with others."""
    invariant = is_batch_invariant(model.run, model.signature, trials)
    is_cut = invariant
    if not invariant:
        # Zeros after each row's length may be -0 where the model multiplies by a mask: then no step is left out.
        whole = model.signature.without_cuts()
        model, trials = dataclasses.replace(model, signature=whole), TrialRequests(whole, cases)
        invariant = is_batch_invariant(model.run, whole, trials)
    trims = _trims_outputs(model, trials)
    parts = try_parts(model.run, model.signature, trials)
    return Findings(digest, measure_cost(model, trials), invariant, trims, parts.continues, is_cut, parts.reason)


@contextlib.contextmanager
def _said_as(what: str) -> Iterator[None]:
    """Turn whatever a run raises into an ArtifactError that begins with `what`."""
    try:
        yield
    except ArtifactError:
        raise
    except Exception as error:
        raise ArtifactError(f"{what}: {type(error).__name__}: {one_line(str(error))}") from error


def _replay(model: Model, cases: Sequence[Case]) -> None:
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
                raise ArtifactError(f"{MODEL}: {spec} comes out as {list(found)} where {list(expected)} is expected")
        return outputs

    failures = replay(cases, compute, limits)
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise ArtifactError(f"{GOLDEN}: {MODEL} does not give these results on {model.device}: {failures[0]}{more}")


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
