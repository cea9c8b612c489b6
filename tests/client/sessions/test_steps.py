"""Sessions: points one by one and several at once, rows, states that travel, and one step at a time."""

import asyncio
import threading

import numpy as np
import pytest

from kit.waiting import until
from rnnserve.client import AsyncClient, Client, InvalidRequest, Unimplemented


def test_session_accepts_single_and_several_points(client, state):
    points = np.arange(12, dtype=np.float32).reshape(6, 2)
    whole = np.cumsum(points, axis=0)
    with client.session("sums") as session:
        assert (session.state, session.model, session.steps) == (state, "sums", 0)
        one = session.step(points[0])
        assert list(one) == ["running", "last"]  # all but the final state
        assert one["running"].tolist() == whole[0].tolist()
        assert one.model_version == "1"
        several = session.step(points[1:4])
        assert several["running"].tolist() == whole[1:4].tolist()
        assert several["last"].tolist() == whole[3].tolist()
        assert session.step([points[4].tolist()])["running"].tolist() == [whole[4].tolist()]
        assert session.step({"x": points[5].tolist()})["last"].tolist() == whole[5].tolist()
        assert session.steps == 6


def test_model_of_single_steps_takes_one_step_at_a_time(client, state):
    with client.session("policy") as session:
        assert session.step([1, 2])["action"].tolist() == [3]
        assert session.step([1, 1])["action"].tolist() == [5]
        assert session.steps == 2
    with client.session("policy", ["action", "next"], rows=2) as session:
        first, second = session.step([[1, 2], [10, 20]])
        assert (first["action"].tolist(), second["action"].tolist()) == ([3], [30])
        first, second = session.step([[1, 1], [0, 1]])
        assert (first["action"].tolist(), second["action"].tolist()) == ([5], [31])
        assert second["next"].tolist() == [10, 21]


def test_token_ids_are_plain_numbers(client, state):
    with client.session("tokens", outputs=["doubled", "seen_n"]) as session:
        assert session.step(5)["doubled"].tolist() == 10
        answer = session.step([1, 2, 3])
        assert (answer["doubled"].tolist(), answer["seen_n"].tolist()) == ([2, 4, 6], 4)


def test_rows_of_a_session_may_have_different_lengths(client, state):
    with client.session("sums", rows=2) as session:
        session.step([[1, 1], [2, 2]])
        first, second = session.step([[[1, 1], [1, 1]], [[2, 2]]])
        assert (first["running"].tolist(), second["running"].tolist()) == ([[2, 2], [3, 3]], [[4, 4]])
        assert session.steps == 3
        first, second = session.step([[1, 0], [0, 1]])
        assert (first["last"].tolist(), second["last"].tolist()) == ([4, 3], [4, 5])
        first, second = session.step([[1, 0], [[0, 1], [0, 1]]])  # a point, and two: each has the sequence axis
        assert (first["running"].tolist(), second["running"].tolist()) == ([[5, 3]], [[4, 6], [4, 7]])


def test_rows_too_large_for_one_request_cannot_be_sealed(client, fake):
    with client.session("tokens", rows=2, outputs=["seen_n"]) as session:
        session.step([[1, 2], [3]])
        assert [row["seen_n"].tolist() for row in session.step([[1], [2, 3]])] == [3, 3]
    fake.seals = True
    with (
        client.session("tokens", rows=2) as session,
        pytest.raises(InvalidRequest, match=r'do not fit into one request.*state="carried"'),
    ):
        session.step([[1, 2], [3]])


def test_kind_of_session_state_can_be_chosen(client, fake):
    with pytest.raises(Unimplemented, match=r'no session key.*state="carried"'):
        client.session("sums", state="sealed").step([1, 2])
    fake.seals = True
    with client.session("sums", state="carried") as session:
        session.step([1, 2])
        assert session.step([1, 2])["last"].tolist() == [2, 4]
    assert not fake.sessions
    with client.session("sums", state="sealed") as session:
        session.step([1, 2])
        assert session.step([1, 2])["last"].tolist() == [2, 4]
    assert fake.sessions[0] == "sealed"
    assert len(set(fake.sessions)) == 2


def test_session_begins_again_with_the_given_states_after_reset(client, state):
    before = client.predict("sums", [[[1, 1], [2, 2]], [[5, 5]]])
    with client.session("sums", continue_from=before[0]) as session:
        assert [session.step([1, 0])["last"].tolist() for _ in range(2)] == [[4, 3], [5, 3]]
        session.reset()
        assert session.steps == 0
        assert session.step([1, 0])["last"].tolist() == [4, 3]
    with client.session("sums", rows=3, continue_from=[*before, None]) as session:
        assert [row["last"].tolist() for row in session.step([[1, 0]] * 3)] == [[4, 3], [6, 5], [1, 0]]


def test_steps_go_to_the_version_that_answered_the_first(client, fake):
    with client.session("sums") as session:
        fake.version = "7"
        session.step([1, 1])
        session.step([1, 1])
        session.reset()
        session.step([1, 1])
    assert fake.asked_versions == ["", "7", ""]
    fake.seals, fake.asked_versions = True, []
    with client.session("sums") as session:
        session.step([1, 1])
        session.step([1, 1])
    assert fake.asked_versions == ["", ""]  # the token says which


def test_session_allows_only_one_step_at_a_time(url, fake):
    with Client(url) as client, client.session("sums") as session:
        fake.blocked = threading.Event()
        thread = threading.Thread(target=session.step, args=([1, 2],))
        thread.start()
        until(lambda: "ModelInfer" in fake.calls)
        with pytest.raises(RuntimeError, match="another step of this session of sums is in progress"):
            session.step([1, 2])
        fake.blocked.set()
        thread.join()
        assert session.steps == 1


def test_cancelled_step_leaves_the_session_unchanged(url, fake):
    async def main():
        async with AsyncClient(url) as client, client.session("sums") as session:
            await session.step([1, 2])
            fake.blocked = threading.Event()
            task = asyncio.create_task(session.step([1, 2]))
            while fake.calls.count("ModelInfer") < 2:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            fake.blocked.set()
            return session.steps, await session.step([1, 2])

    steps, answer = asyncio.run(main())
    assert (steps, answer["last"].tolist()) == (1, [2, 4])
