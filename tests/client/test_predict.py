"""`predict` against models whose outputs a test can compute."""

import numpy as np
import pytest

from kit.fakes import FakeModel, FakeModels, serving
from kit.session_models import POLICY, SUMS
from rnnserve.client import InvalidRequest

LENGTHS = {"lengths_of": "sequence", "optional": True}


def inside(array, lengths):
    """Which steps of each row (batch, sequence) are no padding."""
    size = array.shape[1]
    return np.arange(size) < np.asarray(size if lengths is None else lengths).reshape(-1, 1)


def count_tokens(tensors):
    tokens = tensors["tokens"]
    total = (tokens * inside(tokens, tensors.get("lengths"))).sum(axis=1, dtype="<i8")[:, None]
    return {"sum": total, "doubled": (tokens * 2).astype("<i8")}  # also of padding: the client cuts it off


def translate(tensors):
    source, target = tensors["source"], tensors["target"]
    total = (source * inside(source, tensors.get("source_lengths"))).sum(axis=1, dtype="<i8")
    return {"out": (target + total[:, None]).astype("<f4")}


def mean_of(batching):
    """A model that returns the mean of each row, and the number of rows in the request."""
    return FakeModel(
        {"x": ("FP64", ("batch", "sequence", ("features", 1)))},
        {"mean": ("FP64", ("batch", ("features", 1))), "rows": ("INT64", ("batch",))},
        lambda tensors: {
            "mean": tensors["x"].mean(axis=1),
            "rows": np.full(len(tensors["x"]), len(tensors["x"]), "<i8"),
        },
        {"batching": batching},
    )


MODELS = {
    "tokens": FakeModel(
        {"tokens": ("INT64", ("batch", "sequence"), {"low": 0, "high": 9}), "lengths": ("INT64", ("batch",), LENGTHS)},
        {"sum": ("INT64", ("batch", ("sum", 1))), "doubled": ("INT64", ("batch", "sequence"))},
        count_tokens,
        {"batching": "padded"},
    ),
    "time_first": SUMS,
    "with_inferred": FakeModel(
        SUMS.inputs, SUMS.outputs, SUMS.compute, {"found_states": '["conv.last"]', "sequences": "kept"}
    ),
    "both_ways": FakeModel(
        SUMS.inputs, SUMS.outputs, SUMS.compute, {"continuable": "false", "sequences": "it reads from the end"}
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
    "policy": POLICY,
    "joined": mean_of("joined"),
    "alone": mean_of("alone"),
}


@pytest.fixture(scope="module")
def _fake():
    service = FakeModels(MODELS)
    with serving(service) as address:
        yield service, address


@pytest.fixture
def asked(_fake):
    """The tensors of each request of this test."""
    _fake[0].asked.clear()
    return _fake[0].asked


@pytest.fixture
def url(_fake):
    return _fake[1]


def test_token_ids_are_plain_lists(client, asked):
    first, second = client.predict("tokens", [[1, 2, 3], [4]])
    assert (first["sum"].tolist(), second["sum"].tolist()) == ([6], [4])
    assert (first["doubled"].tolist(), second["doubled"].tolist()) == ([2, 4, 6], [8])
    assert second.model_version == "1"
    (tensors,) = asked
    assert tensors["tokens"].tolist() == [[1, 2, 3], [4, 0, 0]]
    assert tensors["lengths"].tolist() == [3, 1]


def test_only_named_outputs_are_requested(client):
    assert [list(row) for row in client.predict("tokens", [[1], [2]], outputs=["sum"])] == [["sum"]] * 2
    with pytest.raises(InvalidRequest, match='no output "total"; its outputs are sum, doubled'):
        client.predict("tokens", [[1]], outputs=["total"])


def test_batch_may_be_the_second_axis(client, asked):
    rows = [[[1, 2], [3, 4], [5, 6]], [[7, 8]]]
    first, second = client.predict("time_first", rows)
    assert first["running"].tolist() == np.cumsum(rows[0], axis=0).tolist()
    assert second["running"].tolist() == [[7, 8]]
    assert (first["end"].tolist(), second["end"].tolist()) == ([[9, 12]], [[7, 8]])
    assert asked[0]["x"].shape == (3, 2, 2)
    assert asked[0]["steps"].dtype == np.int32


@pytest.mark.parametrize("max_rows", [1, 256])
def test_rows_continue_from_earlier_predictions(connect, max_rows):
    client = connect(max_rows=max_rows)
    first = client.predict("time_first", [[[1, 2]], [[3, 4], [5, 6]]])
    second = client.predict("time_first", [[[1, 1], [1, 1]], [[2, 2]], [[3, 3]]], continue_from=[*first, None])
    assert [row["end"].tolist() for row in second] == [[[3, 4]], [[10, 12]], [[3, 3]]]
    by_name = client.predict("time_first", {"x": [[[1, 1]]], "start": [first[1]["end"]]})
    assert by_name[0]["end"].tolist() == [[9, 11]]


def test_rows_cannot_continue_without_states(client):
    with pytest.raises(InvalidRequest, match="model tokens has no states"):
        client.predict("tokens", [[1]], continue_from=[{}])
    with pytest.raises(InvalidRequest, match=r'continue_from\[0\] has no "end", from which "start" continues'):
        client.predict("time_first", [[[1, 1]]], continue_from=[{"running": np.zeros((1, 2))}])


@pytest.mark.parametrize("model", ["with_inferred", "both_ways"])
def test_rows_cannot_continue_from_results_that_lack_states(model, client):
    first = client.predict(model, [[[1, 2]]])
    with pytest.raises(InvalidRequest, match=rf"results of model {model} lack states .* use session\(\)"):
        client.predict(model, [[[3, 4]]], continue_from=first)


def test_several_inputs_come_by_name(client, asked):
    rows = client.predict("translator", {"source": [[1], [2, 3], [4]], "target": [[1, 1], [2], [3, 3]]})
    assert [row["out"].tolist() for row in rows] == [[2, 2], [7], [7, 7]]
    assert [tensors["target"].tolist() for tensors in asked] == [[[1, 1], [3, 3]], [[2]]], "target has no lengths"


def test_required_state_of_a_single_step_is_zeros(client, asked):
    first = client.predict("policy", [[1, 2], [4, 5]])
    assert [row["action"].tolist() for row in first] == [[3], [9]]
    assert asked[0]["memory"].tolist() == [[0, 0], [0, 0]]
    second = client.predict("policy", np.ones((2, 2)), continue_from=first)
    assert [row["next"].tolist() for row in second] == [[2, 3], [5, 6]]


def test_rows_share_requests_as_the_model_s_batching_allows(client):
    rows = [[[1.0]], [[2.0], [4.0]], [[3.0]], [[5.0], [6.0]]]
    for model, rows_of_request in (("joined", 2), ("alone", 1)):
        found = client.predict(model, rows)
        assert [row["mean"].tolist() for row in found] == [[1], [3], [3], [5.5]]
        assert {row["rows"].item() for row in found} == {rows_of_request}


def test_mistakes_are_refused_before_anything_is_sent(client, asked):
    for model, rows, lesson in (
        ("tokens", [[1.0], [2.5]], r"sequence 1 is 2.5 at \[0\], but the model takes int64"),
        ("policy", [[1, 2, 3]], r"row 0 has shape \(3,\), but model policy takes \(features=2\)"),
        ("", [[1]], "name is empty"),
    ):
        with pytest.raises(InvalidRequest, match=lesson):
            client.predict(model, rows)
    assert asked == []


def test_no_rows_send_no_request(client, asked):
    for rows in ([], {"tokens": []}, np.zeros((0, 3), int)):
        assert client.predict("tokens", rows) == []
    assert asked == []
    assert len(client.predict("tokens", {"tokens": iter([[1], [2]])})) == 2  # an iterator is read once
