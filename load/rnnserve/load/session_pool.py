"""The requests of sessions: for each step one, without the states, which the answer before it or the server has."""

from dataclasses import replace
from typing import Any

import numpy as np

from rnnserve.client import ModelMetadata
from rnnserve.client.request_builder import build_request
from rnnserve.client.row_inputs import check_rows
from rnnserve.client.session_operations import require_sessions
from rnnserve.load.answer_checks import AnswerCheck
from rnnserve.load.even_draws import EvenSizes, draw_evenly
from rnnserve.load.input_drawing import Sizes, draw_inputs
from rnnserve.load.sample_inputs import SampleCase
from rnnserve.load.session_scripts import CarriedScript, KeptScript, SessionScript, state_fields
from rnnserve.load.workload import (
    RequestPool,
    WorkloadSpec,
    build_request_pool,
    make_answer_check,
    usual_outputs,
)

__all__ = ["build_pool"]

_MOST_SCRIPTS = 32
"""Different scripts of one generator. Of more sessions, several have one script, and must get the same answers."""

_MAX_POOL_BYTES = 64 << 20


def build_pool(spec: WorkloadSpec, part: int = 0) -> RequestPool:
    """Draw and serialize the requests of one generator: those of sessions, if the workload has any.

    Args:
        spec: The requests to send.
        part: Index of the generator; each generator sends different requests.

    Raises:
        InvalidRequest: A model's metadata do not describe its inputs well enough; the samples do not match it; or it
            has no sessions.
    """
    return _build_session_pool(spec, part) if spec.sessions else build_request_pool(spec, part)


def _build_session_pool(spec: WorkloadSpec, part: int) -> RequestPool:
    """Draw scripts: as many as there are sessions, up to a number, and fewer if they would take more than 64 MiB."""
    random = np.random.default_rng([spec.seed, part])
    weights = np.array([spec.weights[metadata.name] for metadata in spec.models])  # (models,)
    for metadata in spec.models:
        require_sessions(metadata)
    payloads: list[bytes] = []
    models: list[int] = []
    rows: list[int] = []
    answers: dict[int, AnswerCheck] = {}
    scripts: list[SessionScript] = []
    size = 0
    count = min(spec.sessions, _MOST_SCRIPTS)
    chosen = draw_evenly(weights / weights.sum(), count, random)  # (scripts,)
    batches, lengths = EvenSizes(spec.batches).draw(random, count), EvenSizes(spec.lengths)  # (scripts,)
    for index, batch in zip(chosen.tolist(), batches.tolist(), strict=True):
        first = len(payloads)
        for _ in range(spec.steps):
            payload, finals, beginning, check = _draw_step(spec, spec.models[index], batch, lengths, random)
            if check is not None:
                answers[len(payloads)] = replace(check, key=len(payloads))
            payloads.append(payload)
            size += len(payload)
        models += [index] * spec.steps
        rows += [batch] * spec.steps
        if finals:
            sizes = tuple(len(state) for state in beginning)
            scripts.append(CarriedScript(first, spec.steps, finals, sizes, state_fields(beginning)))
        else:
            scripts.append(KeptScript(first, spec.steps))
        if size > _MAX_POOL_BYTES:
            break
    return RequestPool(
        models=tuple(metadata.name for metadata in spec.models),
        payloads=payloads,
        model=np.array(models, np.int64),
        rows=np.array(rows, np.int64),
        expected=[None] * len(payloads),
        answers=answers,
        scripts=tuple(scripts),
    )


def _draw_step(
    spec: WorkloadSpec, metadata: ModelMetadata, batch: int, lengths: Sizes, random: np.random.Generator
) -> tuple[bytes, tuple[int, ...], list[bytes], AnswerCheck | None]:
    """Draw one step.

    Returns:
        The request without its states; for each state, where the final one is in the answer; the states at the
        beginning; how to check the answer.
    """
    inputs: dict[str, Any] = dict(draw_inputs(metadata, batch, lengths, random))
    rows = check_rows(metadata, inputs | {name: [None] * batch for name in metadata.states})
    usual = usual_outputs(metadata)
    requested = [*usual, *(name for name in metadata.states.values() if name not in usual)]
    request = build_request(metadata.name, "", metadata, rows, range(batch), requested)
    sent = list(zip(request.inputs, request.raw_input_contents, strict=True))
    states = [(tensor, raw) for tensor, raw in sent if tensor.name in metadata.states]
    others = [(tensor, raw) for tensor, raw in sent if tensor.name not in metadata.states]
    ordered = type(request)(model_name=request.model_name, outputs=request.outputs)
    ordered.inputs.extend(tensor for tensor, _ in [*others, *states])
    ordered.raw_input_contents.extend(raw for _, raw in others)
    finals = tuple(requested.index(metadata.states[tensor.name]) for tensor, _ in states)
    check = make_answer_check(spec, metadata, rows, range(batch), requested, SampleCase())
    return ordered.SerializeToString(), finals, [raw for _, raw in states], check
