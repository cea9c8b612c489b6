"""Checks that all clients in Python share over HTTP only: sequences on one connection and on many."""

import secrets
from typing import Any

import numpy as np

from campaigns.conformance.programs.arrays import same
from campaigns.conformance.programs.reporting import feature
from campaigns.conformance.programs.v2_calls import CLASSIFIER, MODEL, client, inputs
from campaigns.conformance.programs.v2_features import take_steps


@feature("sequence")
def sequence() -> None:
    for named in (70041, "by text"):
        take_steps(client(), named)


@feature("sequence-key")
def sequence_key() -> None:
    points, key = CLASSIFIER["walks"][2], secrets.token_urlsafe()
    for step, values in enumerate(points):
        asked = client()
        said = asked.infer(
            MODEL,
            inputs(np.array([[values]], np.float32)),
            sequence_id=70042,
            sequence_start=step == 0,
            sequence_end=step == len(points) - 1,
            parameters={"sequence_key": key},
        )
        asked.close()
    same(said.as_numpy("logits"), [CLASSIFIER["logits"][2]])


@feature("carried")
def carried() -> None:
    states: list[Any] = []
    for values in CLASSIFIER["walks"][2]:
        asked = client()
        said = asked.infer(MODEL, inputs(np.array([[values]], np.float32)) + states)
        states = inputs(said.as_numpy("h_n"), "h_0")
        asked.close()
    same(said.as_numpy("logits"), [CLASSIFIER["logits"][2]])
