"""What is sent: a pool of requests, serialized before the load starts, with what is known about their answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from rnnserve.client import InvalidAnswer, InvalidRequest, ModelMetadata
from rnnserve.client.classification import classified_output
from rnnserve.client.predictions import read_predictions
from rnnserve.client.request_builder import build_request
from rnnserve.client.row_inputs import RowInputs, check_rows
from rnnserve.load.answer_checks import AnswerCheck
from rnnserve.load.even_draws import EvenSizes, draw_evenly
from rnnserve.load.input_drawing import Sizes, draw_inputs, draw_sizes
from rnnserve.load.labelled_walks import UNKNOWN_CLASS, WALK_LABELS, draw_labelled_walks
from rnnserve.load.sample_inputs import SampleCase
from rnnserve.load.session_scripts import SessionScript
from rnnserve.load.size_distribution import SizeDistribution
from rnnserve.protos.protocol_words import ALONE

__all__ = [
    "RequestPool",
    "WorkloadSpec",
    "build_request_pool",
    "classifies_walks",
    "make_answer_check",
    "usual_outputs",
]

_MAX_POOL_BYTES = 64 << 20


@dataclass(frozen=True)
class WorkloadSpec:
    """What to send.

    Attributes:
        models: Metadata of each model.
        weights: Relative frequency of each model, by name.
        lengths: Sizes of each axis that a request chooses: points per sequence. If the rows of a model may be padded,
            each row of a request has a length of its own.
        batches: Rows per request.
        check: Whether to check answers: those of direction classifiers by the known direction of each walk, those of
            other models by golden answers.
        seed: Seed of all random numbers.
        pool: Number of different requests; they are sent again and again in random order.
        samples: Rows to send to the only model, instead of drawn ones; empty to draw rows.
        sessions: Largest number of sessions of a level; 0 for requests of their own.
        steps: Steps of a session, after which it begins anew.
    """

    models: tuple[ModelMetadata, ...]
    weights: Mapping[str, float]
    lengths: SizeDistribution
    batches: SizeDistribution
    check: bool = True
    seed: int = 13
    pool: int = 512
    samples: tuple[SampleCase, ...] = ()
    sessions: int = 0
    steps: int = 0


@dataclass(frozen=True)
class RequestPool:
    """Serialized requests, ready to send.

    Attributes:
        models: Names of the models, to which `model` refers.
        payloads: One serialized ModelInferRequest per request.
        model: (requests,) int64, index of each request's model.
        rows: (requests,) int64, rows in each request.
        expected: For each request, its expected classes, (batch,) int64, with `UNKNOWN_CLASS` for rows without a known
            class; None for requests whose labels are not checked.
        answers: By index, the requests whose answers are compared with golden ones.
        scripts: Of sessions, whose requests lack the states; empty for requests of their own.
    """

    models: tuple[str, ...]
    payloads: list[bytes]
    model: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    expected: list[npt.NDArray[np.int64] | None]
    answers: Mapping[int, AnswerCheck] = field(default_factory=dict)
    scripts: tuple[SessionScript, ...] = ()


@dataclass(frozen=True)
class _Request:
    """One request of the pool, with one of the two ways to check its answer, or none."""

    payload: bytes
    rows: int
    classes: npt.NDArray[np.int64] | None = None
    answer: AnswerCheck | None = None


def classifies_walks(metadata: ModelMetadata) -> bool:
    """Return whether a model classifies the direction of walks, so that its answers can be checked."""
    tensor, logits = metadata.inputs.get("input"), metadata.outputs.get("logits")
    takes_points = tensor is not None and len(tensor.shape) == 3 and tensor.shape[2] == 2
    return takes_points and logits is not None and logits.datatype == "FP32" and metadata.labels == WALK_LABELS


def build_request_pool(spec: WorkloadSpec, part: int = 0) -> RequestPool:
    """Draw and serialize the requests of one generator.

    Models, batch sizes and lengths come in equal counts, or as their weights say: so that pools differ little.

    The pool has fewer than `spec.pool` requests if they would take more than 64 MiB.

    Args:
        spec: The requests to send.
        part: Index of the generator; each generator sends different requests.

    Raises:
        InvalidRequest: A model's metadata do not describe its inputs well enough, or the samples do not match it.
    """
    random = np.random.default_rng([spec.seed, part])
    weights = np.array([spec.weights[metadata.name] for metadata in spec.models])  # (models,)
    models = draw_evenly(weights / weights.sum(), spec.pool, random)  # (requests,)
    batches, lengths = EvenSizes(spec.batches).draw(random, spec.pool), EvenSizes(spec.lengths)  # (requests,)
    cases = [check_rows(spec.models[0], case.inputs) for case in spec.samples]
    requests: list[_Request] = []
    size = 0
    for index, batch in zip(models.tolist(), batches.tolist(), strict=True):
        metadata = spec.models[index]
        if cases:
            number = int(random.integers(len(cases)))
            request = _take_samples(spec, metadata, cases[number], spec.samples[number], batch, random)
        else:
            request = _draw_request(spec, metadata, batch, lengths, random)
        size += len(request.payload)
        if requests and size > _MAX_POOL_BYTES:
            break
        requests.append(request)
    first: dict[bytes, int] = {}  # index of the first request of each content
    answers = {
        index: replace(request.answer, key=first.setdefault(request.payload, index))
        for index, request in enumerate(requests)
        if request.answer is not None
    }
    return RequestPool(
        models=tuple(metadata.name for metadata in spec.models),
        payloads=[request.payload for request in requests],
        model=models[: len(requests)],
        rows=np.array([request.rows for request in requests], np.int64),
        expected=[request.classes for request in requests],
        answers=answers,
    )


def _draw_request(
    spec: WorkloadSpec, metadata: ModelMetadata, batch: int, lengths: Sizes, random: np.random.Generator
) -> _Request:
    if classifies_walks(metadata):
        walks, classes = draw_labelled_walks(draw_sizes(metadata, "sequence", batch, lengths, random), random)
        rows = check_rows(metadata, {"input": walks})
        payload = _serialize(metadata, rows, range(batch), ["logits"])
        is_checked = spec.check and bool((classes != UNKNOWN_CLASS).any())
        return _Request(payload, batch, classes if is_checked else None)
    rows = check_rows(metadata, draw_inputs(metadata, batch, lengths, random))
    requested = usual_outputs(metadata)
    payload = _serialize(metadata, rows, range(batch), requested)
    return _Request(
        payload, batch, answer=make_answer_check(spec, metadata, rows, range(batch), requested, SampleCase())
    )


def _take_samples(
    spec: WorkloadSpec,
    metadata: ModelMetadata,
    rows: RowInputs,
    case: SampleCase,
    batch: int,
    random: np.random.Generator,
) -> _Request:
    """Take rows that follow one another from a case; all rows for a model that is served alone."""
    batch = len(rows) if metadata.batching == ALONE else min(batch, len(rows))
    start = int(random.integers(len(rows) - batch + 1))
    chosen = range(start, start + batch)
    requested = list(case.answers) or usual_outputs(metadata)
    payload = _serialize(metadata, rows, chosen, requested)
    return _Request(payload, batch, answer=make_answer_check(spec, metadata, rows, chosen, requested, case))


def usual_outputs(metadata: ModelMetadata) -> list[str]:
    """Return the output with the classes, if there is one, else all outputs."""
    classified = classified_output(metadata)
    return list(metadata.outputs) if classified is None else [classified]


def _serialize(metadata: ModelMetadata, rows: RowInputs, chosen: Sequence[int], requested: Sequence[str]) -> bytes:
    return build_request(metadata.name, "", metadata, rows, chosen, requested).SerializeToString()


def make_answer_check(
    spec: WorkloadSpec,
    metadata: ModelMetadata,
    rows: RowInputs,
    chosen: Sequence[int],
    requested: Sequence[str],
    case: SampleCase,
) -> AnswerCheck | None:
    """Return how to check the answers to one request; None if they are not checked."""
    if not spec.check:
        return None
    expected = None
    if case.answers:
        try:
            whole = read_predictions(
                metadata, case.answers, rows, range(len(rows)), requested=requested, model_version=""
            )
        except InvalidAnswer as error:
            raise InvalidRequest(f"the samples' answers do not match their inputs: {error}") from error
        expected = [whole[index] for index in chosen]
    return AnswerCheck(
        metadata=metadata,
        rows=RowInputs({}, rows.sizes, rows.ends),
        chosen=chosen,
        requested=requested,
        is_exact=metadata.is_batch_invariant,
        expected=expected,
    )
