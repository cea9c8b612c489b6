"""Requests of a known form: each is read as it would be read without its form being known."""

import copy
import json
import random
from typing import Any

import numpy as np
import pytest

from rnnserve.web.errors import RestError
from rnnserve.web.rest import known_requests
from rnnserve.web.rest.infer_request import read_infer_request
from rnnserve.web.rest.known_requests import KnownRequests

WALK = {"name": "input", "datatype": "FP32", "shape": [1, 2, 2], "data": [[[1, 2], [3, 4.5]]]}
IDS = {"name": "ids", "datatype": "INT64", "shape": [3], "data": [1, 2, 2**60]}
MASK = {"name": "mask", "datatype": "BOOL", "shape": [2], "data": [True, False]}
RAW = {"name": "raw", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}
BINARY_OUTPUT = {"name": "y", "parameters": {"binary_data": True}}
FORMS: list[dict[str, Any]] = [
    {"inputs": [WALK], "outputs": [{"name": "logits"}]},
    {"id": "a", "inputs": [WALK, IDS], "outputs": [{"name": "logits"}, BINARY_OUTPUT]},
    {"inputs": [MASK], "parameters": {"binary_data_output": True}},
    {"inputs": [IDS, RAW, WALK]},
]
ODD = [
    None, True, False, 0, 1, -1, 1.0, 1.5, 2**63, 2**64, 1e39, float("nan"), float("inf"), "", "x", "é", "FP16",
    "BYTES", "FP64", [], [1], [[1]], [1, 2, 2], [True, 2, 2], [1.0, 2, 2], [1, 2, 2, 1], [-1], {}, {"a": 1},
    {"binary_data_size": 4}, {"binary_data_size": True}, {"binary_data": 1}, {"binary_data_output": 0},
    {"sequence_id": 1},
]  # fmt: skip


def places(value, path=()):
    """Every place in a JSON value, by its way there."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from places(child, (*path, name))


def changed(value, draw):
    """A copy with one place changed: another value, one more, or one less."""
    made = copy.deepcopy(value)
    *way, last = draw.choice([path for path in places(made) if path])
    holder = made
    for name in way:
        holder = holder[name]
    kind = draw.random()
    if kind < 0.7:
        holder[last] = draw.choice(ODD)
    elif kind < 0.85:
        del holder[last]
    elif isinstance(holder, dict):
        holder[draw.choice(["id", "data", "parameters", "name", "x"])] = draw.choice(ODD)
    else:
        holder.append(draw.choice([*ODD, holder[last]]))
    return made


def outcome(read, *args):
    try:
        request, form = read(*args)
    except RestError as error:
        return error.status, str(error)
    return request if isinstance(request, bytes) else request.SerializeToString(), form


@pytest.mark.parametrize("form", FORMS, ids=["one input", "two inputs", "binary output", "binary input"])
def test_whatever_differs_is_read_as_any_other_request(form):
    """Of any type, in any place, after requests of the same form and of others."""
    draw = random.Random(3)
    requests = KnownRequests()
    raw = np.arange(2, dtype="<f4").tobytes() if RAW in form["inputs"] else b""
    for _ in range(300):
        value = form if draw.random() < 0.3 else changed(form, draw)
        text = json.dumps(value).encode()
        for data in {raw, draw.choice([b"", raw, raw + b"\0", b"\0" * 4])}:
            args = text + data, len(text) if data or draw.random() < 0.5 else None, "m", draw.choice(["", "1"])
            assert outcome(requests.read, *args) == outcome(read_infer_request, *args)


def test_forms_are_bounded_in_number_and_size(monkeypatch):
    monkeypatch.setattr(known_requests, "_MOST_FORMS", 4)
    requests = KnownRequests()
    for number in range(20):
        requests.read(json.dumps({"inputs": [{**IDS, "name": f"n{number}"}]}).encode(), None, "m", "")
        requests.read(json.dumps({"inputs": [{**IDS, "name": "n" * 2000 + str(number)}]}).encode(), None, "m", "")
        assert 0 < len(requests._forms) <= 4
