"""Sessions that are refused: models without states, points that don't fit, invalid arguments and invalid answers."""

import pytest

from rnnserve.client import InvalidAnswer, InvalidRequest


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ("stateless", "model stateless has no states, so it has no sessions"),
        ("both_ways", "model both_ways has no sessions.* cannot be split: it reads from the end"),
        ("two_axes", r"model two_axes has no sessions.* several sequence axes \(source, target\)"),
    ],
)
def test_models_without_sessions_are_refused(client, model, complaint):
    with pytest.raises(InvalidRequest, match=complaint), client.session(model):
        pass
    with pytest.raises(InvalidRequest, match=complaint):
        client.session(model).step([1, 2])


@pytest.mark.parametrize(
    ("model", "rows", "point", "complaint"),
    [
        ("sums", None, [1, 2, 3], r"sequence 0 has shape \(1, 3\), but model sums takes \(sequence, features=2\)"),
        ("sums", None, [[[1, 2]]], "Did you add a batch axis"),
        ("sums", 2, [[1, 2]], "x has 1 rows, but the session has 2"),
        ("sums", 2, 5, "x is of type int; expected a list with 2 rows"),
        ("sums", None, {"x": [1, 2], "start": [[1, 2]]}, "start is a state, which the session sends"),
        ("policy", None, [[1, 2], [3, 4]], r"takes one step at a time, \(features=2\)"),
        ("policy", 2, [[[1, 2]], [[1, 2], [3, 4]]], "takes one step at a time"),
    ],
)
def test_point_that_does_not_fit_is_refused(client, model, rows, point, complaint):
    with client.session(model, rows=rows) as session:
        with pytest.raises(InvalidRequest, match=complaint):
            session.step(point)
        assert session.steps == 0


def test_invalid_session_arguments_are_refused(client):
    for arguments, complaint in (
        ({"model": ""}, "model name is empty"),
        ({"rows": 0}, "rows must be a positive integer"),
        ({"state": "kept"}, "state must be .*'kept'"),
        ({"rows": 2, "continue_from": [None]}, "continue_from has 1 rows, but the session has 2"),
    ):
        with pytest.raises(InvalidRequest, match=complaint):
            client.session(**{"model": "sums", **arguments})
    with pytest.raises(InvalidRequest, match='no output "sum"'):
        client.session("sums", ["sum"]).step([1, 2])


def test_answer_without_a_token_is_invalid(client, fake):
    fake.seals = fake.forgets = True
    with client.session("sums") as session, pytest.raises(InvalidAnswer, match="has no token"):
        session.step([1, 2])


def test_closed_session_refuses_steps(client):
    with client.session("sums") as session:
        session.step([1, 2])
    for use in (lambda: session.step([1, 2]), session.reset):
        with pytest.raises(RuntimeError, match="this session of sums is closed; begin a new one"):
            use()
