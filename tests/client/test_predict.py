"""`predict` against a server whose models are arithmetic that a test can redo."""

import numpy as np
import pytest

from kit.fakes import FakeModel, FakeModels, serving
from rnnserve.client import InvalidRequest

LENGTHS = {"lengths_of": "sequence", "optional": True}


def mask(array, lengths, axis):
    """The steps of a row that count, (batch, size of the axis)."""
    size = array.shape[axis]
    return np.arange(size) < np.asarray(size if lengths is None else lengths).reshape(-1, 1)


def count_tokens(tensors):
    tokens = tensors["tokens"]
    inside = mask(tokens, tensors.get("lengths"), 1)
    doubled = (tokens * 2).astype("<i8")  # also of padding: the client cuts it off
    return {"sum": (tokens * inside).sum(axis=1, dtype="<i8")[:, None], "doubled": doubled}


def add_up(tensors):
    """Over (sequence, batch, features), with a state (1, batch, features)."""
    points = tensors["x"]
    inside = mask(points, tensors.get("steps"), 0).T[..., None]
    state = tensors.get("start", np.zeros((1, *points.shape[1:]), "<f4"))
    running = (np.cumsum(points * inside, axis=0) + state).astype("<f4")
    return {"running": running, "end": running[-1:]}


def translate(tensors):
    source, target = tensors["source"], tensors["target"]
    inside = mask(source, tensors.get("source_lengths"), 1)
    total = (source * inside).sum(axis=1, dtype="<i8")
    return {"out": (target + total[:, None]).astype("<f4")}


def step(tensors):
    return {"action": tensors["observation"].sum(axis=1, keepdims=True), "next": tensors["memory"] + 1}


def mean(tensors):
    return {"mean": tensors["x"].mean(axis=1), "rows": np.full(len(tensors["x"]), len(tensors["x"]), "<i8")}


MODELS = {
    "tokens": FakeModel(
        {"tokens": ("INT64", ("batch", "sequence"), {"low": 0, "high": 9}), "lengths": ("INT64", ("batch",), LENGTHS)},
        {"sum": ("INT64", ("batch", ("sum", 1))), "doubled": ("INT64", ("batch", "sequence"))},
        count_tokens,
        {"batching": "padded"},
    ),
    "time_first": FakeModel(
        {
            "x": ("FP32", ("sequence", "batch", ("features", 2))),
            "steps": ("INT32", ("batch",), {"lengths_of": "sequence", "optional": True}),
            "start": ("FP32", (("layers", 1), "batch", ("features", 2)), {"optional": True}),
        },
        {
            "running": ("FP32", ("sequence", "batch", ("features", 2))),
            "end": ("FP32", (("layers", 1), "batch", ("features", 2)), {"continues_as": "start"}),
        },
        add_up,
    ),
    "translator": FakeModel(
        {
            "source": ("INT64", ("batch", "source")),
            "source_lengths": ("INT64", ("batch",), {"lengths_of": "source", "optional": True}),
            "target": ("INT64", ("batch", "target")),
        },
        {"out": ("FP32", ("batch", "target"))},
        translate,
    ),
    "policy": FakeModel(
        {"observation": ("FP32", ("batch", ("features", 3))), "memory": ("FP32", ("batch", ("hidden", 2)))},
        {
            "action": ("FP32", ("batch", ("actions", 1))),
            "next": ("FP32", ("batch", ("hidden", 2)), {"continues_as": "memory"}),
        },
        step,
    ),
    "mean": FakeModel(
        {"x": ("FP64", ("batch", "sequence", ("features", 1)))},
        {"mean": ("FP64", ("batch", ("features", 1))), "rows": ("INT64", ("batch",))},
        mean,
        {"batching": "joined"},
    ),
    "lonely": FakeModel(
        {"x": ("FP64", ("batch", "sequence", ("features", 1)))},
        {"mean": ("FP64", ("batch", ("features", 1))), "rows": ("INT64", ("batch",))},
        mean,
        {"batching": "alone"},
    ),
}


@pytest.fixture(scope="module")
def _fake():
    service = FakeModels(MODELS)  # type: ignore[abstract]
    with serving(service) as address:
        yield service, address


@pytest.fixture
def asked(_fake):
    """What was asked in this test."""
    _fake[0].asked.clear()
    return _fake[0].asked


@pytest.fixture
def url(_fake):
    return _fake[1]


def test_token_ids_as_plain_lists(client, asked):
    first, second = client.predict("tokens", [[1, 2, 3], [4]])
    assert (first["sum"].tolist(), second["sum"].tolist()) == ([6], [4])
    assert (first["doubled"].tolist(), second["doubled"].tolist()) == ([2, 4, 6], [8])
    assert second.model_version == "1"
    (tensors,) = asked
    assert tensors["tokens"].tolist() == [[1, 2, 3], [4, 0, 0]]
    assert tensors["lengths"].tolist() == [3, 1]


def test_only_outputs_that_are_named_are_requested(client):
    assert [list(row) for row in client.predict("tokens", [[1], [2]], outputs=["sum"])] == [["sum"]] * 2
    with pytest.raises(InvalidRequest, match="no output `total`; its outputs are sum, doubled"):
        client.predict("tokens", [[1]], outputs=["total"])


def test_the_batch_may_be_the_second_axis(client, asked):
    rows = [[[1, 2], [3, 4], [5, 6]], [[7, 8]]]
    first, second = client.predict("time_first", rows)
    assert first["running"].tolist() == np.cumsum(rows[0], axis=0).tolist()
    assert second["running"].tolist() == [[7, 8]]
    assert (first["end"].tolist(), second["end"].tolist()) == ([[9, 12]], [[7, 8]])
    assert asked[0]["x"].shape == (3, 2, 2)
    assert asked[0]["steps"].dtype == np.int32


@pytest.mark.parametrize("max_rows", [1, 256])
def test_rows_continue_from_earlier_results(connect, max_rows):
    client = connect(max_rows=max_rows)
    first = client.predict("time_first", [[[1, 2]], [[3, 4], [5, 6]]])
    second = client.predict("time_first", [[[1, 1], [1, 1]], [[2, 2]], [[3, 3]]], continue_from=[*first, None])
    assert [row["end"].tolist() for row in second] == [[[3, 4]], [[10, 12]], [[3, 3]]]
    by_name = client.predict("time_first", {"x": [[[1, 1]]], "start": [first[1]["end"]]})
    assert by_name[0]["end"].tolist() == [[9, 11]]


def test_rows_cannot_continue_without_states(client):
    with pytest.raises(InvalidRequest, match="model tokens has no states"):
        client.predict("tokens", [[1]], continue_from=[{}])
    with pytest.raises(InvalidRequest, match=r"continue_from\[0\] has no end, from which start continues"):
        client.predict("time_first", [[[1, 1]]], continue_from=[{"running": np.zeros((1, 2))}])


def test_several_inputs_come_by_name(client, asked):
    first, second, third = client.predict("translator", {"source": [[1], [2, 3], [4]], "target": [[1, 1], [2], [3, 3]]})
    assert [row["out"].tolist() for row in (first, second, third)] == [[2, 2], [7], [7, 7]]
    assert [tensors["target"].tolist() for tensors in asked] == [[[1, 1], [3, 3]], [[2]]], "target has no lengths"


def test_a_step_has_one_array_for_each_row(client, asked):
    first = client.predict("policy", [[1, 2, 3], [4, 5, 6]])
    assert [row["action"].tolist() for row in first] == [[6], [15]]
    assert asked[0]["memory"].tolist() == [[0, 0], [0, 0]], "the state is required, so zeros are sent"
    second = client.predict("policy", np.ones((2, 3)), continue_from=first)
    assert [row["next"].tolist() for row in second] == [[2, 2], [2, 2]]


def test_rows_of_a_joined_model_share_requests_of_equal_length(client):
    rows = [[[1.0]], [[2.0], [4.0]], [[3.0]], [[5.0], [6.0]]]
    found = client.predict("mean", rows)
    assert [row["mean"].tolist() for row in found] == [[1], [3], [3], [5.5]]
    assert [row["rows"].tolist() for row in found] == [2, 2, 2, 2]


def test_rows_of_a_model_that_is_served_alone_share_nothing(client):
    found = client.predict("lonely", [[[1.0]], [[2.0]]])
    assert [row["rows"].tolist() for row in found] == [1, 1]


def test_numbers_that_would_change_are_refused(client, asked):
    with pytest.raises(InvalidRequest, match=r"sequence 1 is 2.5 at \[0\], which int64 cannot hold"):
        client.predict("tokens", [[1.0], [2.5]])
    assert asked == []


@pytest.mark.parametrize("rows", [[], {"tokens": []}, np.zeros((0, 3), int)])
def test_no_rows_have_no_answers(client, asked, rows):
    assert client.predict("tokens", rows) == []
    assert asked == []


def test_an_iterator_is_read_once(client):
    client.predict("tokens", [[1]])
    for rows in ((row for row in [[1], [2]]), {"tokens": iter([[1], [2]])}):
        assert len(client.predict("tokens", rows)) == 2
