"""Sessions whose server fails, is slow, ends or starts again: no step is lost, and none is counted twice."""

import threading
import types

import grpc
import pytest

from kit.fakes import serving
from kit.held_ports import held_port
from kit.session_models import MODELS, FailingModels
from kit.waiting import PATIENCE
from rnnserve.client import Client, ClientError, DeadlineExceeded, FailedPrecondition, InvalidRequest, Unavailable

UNAVAILABLE, CANCELLED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("status", [UNAVAILABLE, CANCELLED])
def test_lost_step_is_sent_again_and_counted_once(client, fake, state, status):
    """Whether the server had computed it before the loss or not."""
    with client.session("sums") as session:
        session.step([1, 1])
        fake.failures = [(status, False), (status, True), (status, False)]
        assert session.step([1, 1])["last"].tolist() == [2, 2]
        assert session.step([1, 1])["last"].tolist() == [3, 3]
        assert session.steps == 3


def test_step_that_times_out_raises_the_last_loss_and_can_be_retried(client, fake, state, monkeypatch):
    with client.session("policy") as session:
        session.step([1, 1])
        fake.failures = [(UNAVAILABLE, False)] * 1000
        # The time is over after the fourth loss.
        clock = types.SimpleNamespace(monotonic=lambda: 0.0 if len(fake.failures) > 996 else PATIENCE + 1)
        monkeypatch.setattr("rnnserve.client.base_client.time", clock)
        with pytest.raises(Unavailable, match="the server is stopping"):
            session.step([1, 0], timeout=PATIENCE)
        assert len(fake.failures) == 996
        fake.failures = []
        assert session.steps == 1
        assert session.step([1, 0])["action"].tolist() == [3]


def test_other_errors_are_raised_at_once(client, fake):
    with client.session("sums") as session:
        session.step([1, 1])
        for status, kind in (
            (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
            (grpc.StatusCode.FAILED_PRECONDITION, FailedPrecondition),
            (grpc.StatusCode.INTERNAL, ClientError),
        ):
            fake.failures = [(status, False)]
            with pytest.raises(kind, match="the server is stopping"):
                session.step([1, 1])
        assert session.step([1, 1])["last"].tolist() == [2, 2]


def test_slow_step_exceeds_its_deadline(client, fake):
    with client.session("sums") as session:
        session.step([1, 2])
        fake.blocked = threading.Event()
        with pytest.raises(DeadlineExceeded):
            session.step([1, 2], timeout=0.1)


def test_session_moves_to_the_next_address(state):
    services = [FailingModels(MODELS, seals=state == "sealed") for _ in range(2)]
    with serving(services[1]) as second:
        with serving(services[0]) as first:
            client = Client(f"{first},{second}", balancing="pick_first")
            session = client.session("sums")
            assert session.step([1, 1])["last"].tolist() == [1, 1]
        assert session.step([1, 1])["last"].tolist() == [2, 2]
        client.close()
    assert [len(service.asked) for service in services] == [1, 1]


def test_session_waits_for_a_restarting_server(state):
    service = FailingModels(MODELS, seals=state == "sealed")
    with held_port() as port, Client(f"127.0.0.1:{port}") as client:
        session = client.session("sums")
        with serving(service, address=f"127.0.0.1:{port}"):
            session.step([1, 1])
        answered = threading.Event()

        def serve_again():
            with serving(service, address=f"127.0.0.1:{port}"):
                answered.wait(PATIENCE)

        again = threading.Timer(0.2, serve_again)
        again.start()
        assert session.step([1, 1])["last"].tolist() == [2, 2]
        answered.set()
        again.join()
