"""The workload of a load test: a pool of requests, serialized before the load starts, and checks of their answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.client import InvalidAnswer, InvalidRequest, ModelMetadata, Prediction
from rnnserve.client.classification import classified_output
from rnnserve.client.predictions import read_predictions
from rnnserve.client.request_builder import build_request
from rnnserve.client.row_inputs import RowInputs, check_rows
from rnnserve.client.sessions import require_sessions
from rnnserve.load.answer_checks import AnswerCheck
from rnnserve.load.draws import EvenSizes, SizeDistribution, draw_evenly
from rnnserve.load.inputs import SampleCase, draw_inputs
from rnnserve.protos.inference_pb2 import ModelInferRequest, ModelInferResponse
from rnnserve.protos.protocol_words import ALONE, SEQUENCE_END, SEQUENCE_ID, SEQUENCE_START

__all__ = ["RequestPool", "SessionScript", "WorkloadSpec", "build_pool"]

_MAX_POOL_BYTES = 64 << 20
_MOST_SCRIPTS = 32
"""Number of different scripts per generator. More sessions share scripts, and then must get the same answers."""


@dataclass(frozen=True)
class WorkloadSpec:
    """The models and the requests of a workload."""

    models: tuple[ModelMetadata, ...]
    weights: Mapping[str, float]  # relative frequency of requests, by model
    lengths: SizeDistribution  # of each axis whose size the request chooses, such as steps
    batches: SizeDistribution  # rows per request
    check: bool = True
    seed: int = 13
    pool: int = 512  # number of different requests, sent repeatedly in random order
    samples: tuple[SampleCase, ...] = ()  # rows for the only model, instead of drawn rows
    sessions: int = 0  # largest number of sessions of a load, or 0 for independent requests
    steps: int = 0  # number of steps after which a session begins again


@dataclass(frozen=True)
class SessionScript:
    """The steps of a session, which begins again after the last one.

    Usually the client sends the states from each answer back with the next request. Inferred states aren't part of the
    model's interface, so the server keeps them, and requests have a `sequence_id` instead. Both are protobuf fields
    that are appended to the bytes of a request.
    """

    first: int  # index in the pool of the first step's request, before the other steps
    steps: int
    finals: tuple[int, ...] = ()  # index of each final state among the outputs, or empty if the server keeps the states
    beginning: tuple[bytes, ...] = ()  # the value of each initial state

    @property
    def is_kept_by_server(self) -> bool:
        """Whether the server keeps the states. If so, the session is over when a step fails."""
        return not self.finals

    def begin(self, session: str) -> bytes:
        """Return the fields for the first step of a session with a new name."""
        return self._sequence_fields(session, 0) if self.is_kept_by_server else _state_fields(self.beginning)

    def go_on(self, session: str, step: int, response: ModelInferResponse) -> bytes:
        """Return the fields for a later step. `response` is the answer to the previous step."""
        if self.is_kept_by_server:
            return self._sequence_fields(session, step)
        raw = response.raw_output_contents
        try:
            states = [raw[at] for at in self.finals]
        except IndexError as error:
            raise InvalidAnswer(f"the response has {len(raw)} raw outputs and lacks a final state") from error
        sizes = [len(state) for state in self.beginning]
        if [len(state) for state in states] != sizes:
            raise InvalidAnswer(f"the final states have {[len(state) for state in states]} bytes; expected {sizes}")
        return _state_fields(states)

    def _sequence_fields(self, session: str, step: int) -> bytes:
        request = ModelInferRequest()
        request.parameters[SEQUENCE_ID].string_param = session
        if step == 0:
            request.parameters[SEQUENCE_START].bool_param = True
        if step == self.steps - 1:
            request.parameters[SEQUENCE_END].bool_param = True
        return request.SerializeToString()


def _state_fields(states: Sequence[bytes]) -> bytes:
    return ModelInferRequest(raw_input_contents=states).SerializeToString()


@dataclass(frozen=True)
class RequestPool:
    """Serialized requests, ready to send. For sessions, the states are added later."""

    models: tuple[str, ...]
    payloads: list[bytes]
    model: npt.NDArray[np.int64]  # (requests,) index of each request's model
    rows: npt.NDArray[np.int64]  # (requests,)
    checks: Mapping[int, AnswerCheck] = field(default_factory=dict)  # by index of the request
    scripts: tuple[SessionScript, ...] = ()  # empty for independent requests


@dataclass
class _Requests:
    """The requests that have been prepared so far."""

    payloads: list[bytes] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    models: list[int] = field(default_factory=list)
    checks: dict[int, AnswerCheck] = field(default_factory=dict)
    size: int = 0

    def add(self, model: int, rows: int, payload: bytes, check: AnswerCheck | None) -> None:
        if check is not None:
            self.checks[len(self.payloads)] = check
        self.payloads.append(payload)
        self.rows.append(rows)
        self.models.append(model)
        self.size += len(payload)


def build_pool(spec: WorkloadSpec, part: int = 0) -> RequestPool:
    """Draw and serialize the requests of one generator. Each generator (index `part`) sends different requests.

    Models, batch sizes and lengths are drawn in equal counts, or in proportion to their weights, so that pools differ
    little. The pool is smaller than requested if it would exceed 64 MiB.
    """
    random = np.random.default_rng([spec.seed, part])
    weights = np.array([spec.weights[metadata.name] for metadata in spec.models])  # (models,)
    count = min(spec.sessions, _MOST_SCRIPTS) if spec.sessions else spec.pool
    for metadata in spec.models if spec.sessions else ():
        require_sessions(metadata)
    models = draw_evenly(weights / weights.sum(), count, random).tolist()
    batches, lengths = EvenSizes(spec.batches).draw(random, count).tolist(), EvenSizes(spec.lengths)
    requests, scripts = _Requests(), list[SessionScript]()
    cases = [check_rows(spec.models[0], case.inputs) for case in spec.samples]
    for model, batch in zip(models, batches, strict=True):
        metadata = spec.models[model]
        if spec.sessions:
            scripts.append(_add_script(requests, spec, model, batch, lengths, random))
        elif cases:
            number = int(random.integers(len(cases)))
            _add_samples(requests, spec, cases[number], spec.samples[number], batch, random)
        else:
            rows = check_rows(metadata, draw_inputs(metadata, batch, lengths, random))
            outputs = _usual_outputs(metadata)
            check = _check_of(metadata, rows, range(batch), outputs) if spec.check else None
            requests.add(model, batch, _serialize(metadata, rows, range(batch), outputs), check)
        if requests.size > _MAX_POOL_BYTES:
            break
    # Requests with equal bytes share a reference answer, except in sessions, where the states are added only later.
    first: dict[bytes, int] = {}
    keys = [at if spec.sessions else first.setdefault(payload, at) for at, payload in enumerate(requests.payloads)]
    return RequestPool(
        models=tuple(metadata.name for metadata in spec.models),
        payloads=requests.payloads,
        model=np.array(requests.models, np.int64),
        rows=np.array(requests.rows, np.int64),
        checks={at: replace(check, key=keys[at]) for at, check in requests.checks.items()},
        scripts=tuple(scripts),
    )


def _add_samples(
    requests: _Requests,
    spec: WorkloadSpec,
    rows: RowInputs,
    case: SampleCase,
    batch: int,
    random: np.random.Generator,
) -> None:
    """Add requests with successive rows of a case, or with all of its rows if the model takes no batches."""
    (metadata,) = spec.models
    batch = len(rows) if metadata.batching == ALONE else min(batch, len(rows))
    start = int(random.integers(len(rows) - batch + 1))
    chosen, outputs = range(start, start + batch), list(case.outputs) or _usual_outputs(metadata)
    check = None
    if spec.check:
        expected = None
        if case.outputs:
            try:
                whole = read_predictions(
                    metadata, case.outputs, rows, range(len(rows)), requested=outputs, model_version=""
                )
            except InvalidAnswer as error:
                raise InvalidRequest(f"the outputs in the file do not match its inputs: {error}") from error
            expected = [whole[index] for index in chosen]
        check = _check_of(metadata, rows, chosen, outputs, expected)
    requests.add(0, batch, _serialize(metadata, rows, chosen, outputs), check)


def _add_script(
    requests: _Requests, spec: WorkloadSpec, model: int, batch: int, lengths: EvenSizes, random: np.random.Generator
) -> SessionScript:
    """Draw the steps of a session: requests without the states, which are appended later."""
    metadata, first = spec.models[model], len(requests.payloads)
    usual = _usual_outputs(metadata)
    outputs = [*usual, *(name for name in metadata.states.values() if name not in usual)]
    finals: tuple[int, ...] = ()
    beginning: tuple[bytes, ...] = ()
    for _ in range(spec.steps):
        inputs: dict[str, Any] = dict(draw_inputs(metadata, batch, lengths, random))
        rows = check_rows(metadata, inputs | {name: [None] * batch for name in metadata.states})
        request = build_request(metadata.name, "", metadata, rows, range(batch), outputs)
        sent = list(zip(request.inputs, request.raw_input_contents, strict=True))
        states = [(tensor, raw) for tensor, raw in sent if tensor.name in metadata.states]
        others = [(tensor, raw) for tensor, raw in sent if tensor.name not in metadata.states]
        ordered = ModelInferRequest(model_name=request.model_name, outputs=request.outputs)
        ordered.inputs.extend(tensor for tensor, _ in [*others, *states])
        ordered.raw_input_contents.extend(raw for _, raw in others)
        finals = tuple(outputs.index(metadata.states[tensor.name]) for tensor, _ in states)
        beginning = tuple(raw for _, raw in states)
        check = _check_of(metadata, rows, range(batch), outputs) if spec.check else None
        requests.add(model, batch, ordered.SerializeToString(), check)
    return SessionScript(first, spec.steps, finals, beginning)


def _usual_outputs(metadata: ModelMetadata) -> list[str]:
    """Return the output with the classes if there is one, else all outputs."""
    classified = classified_output(metadata)
    return list(metadata.outputs) if classified is None else [classified]


def _serialize(metadata: ModelMetadata, rows: RowInputs, chosen: Sequence[int], outputs: Sequence[str]) -> bytes:
    return build_request(metadata.name, "", metadata, rows, chosen, outputs).SerializeToString()


def _check_of(
    metadata: ModelMetadata,
    rows: RowInputs,
    chosen: Sequence[int],
    outputs: Sequence[str],
    expected: Sequence[Prediction] | None = None,
) -> AnswerCheck:
    """Return the check for a request, without its tensors, because each generator keeps hundreds of checks."""
    without_tensors = RowInputs({}, rows.sizes, rows.ends)
    return AnswerCheck(metadata, without_tensors, chosen, outputs, metadata.is_batch_invariant, expected)
