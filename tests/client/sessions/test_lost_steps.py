"""Sessions whose server fails, is slow, ends or starts again: no step is lost, and none is counted twice."""

import threading
import types
from concurrent import futures

import grpc
import pytest

from kit.fakes import serving
from kit.held_ports import held_port
from kit.session_models import MODELS, FailingModels
from kit.waiting import PATIENCE
from rnnserve.client import Client, ClientError, DeadlineExceeded, FailedPrecondition, InvalidRequest, Unavailable
from rnnserve.client.repeated_calls import _pauses
from rnnserve.protos import inference_pb2_grpc as rpc

UNAVAILABLE, CANCELLED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("failure", [(UNAVAILABLE, False), (UNAVAILABLE, True), (CANCELLED, False), (CANCELLED, True)])
def test_a_lost_step_is_sent_again(client, fake, state, failure):
    """Whether or not the server had computed it, nothing is lost, and nothing is counted twice."""
    with client.session("sums") as session:
        session.step([1, 1])
        fake.failures = [failure] * 3
        assert session.step([1, 1])["last"].tolist() == [2, 2]
        assert session.step([1, 1])["last"].tolist() == [3, 3]
        assert session.steps == 3


def test_after_the_timeout_the_last_loss_is_raised_and_the_step_can_be_made_again(client, fake, state, monkeypatch):
    """The time is over after the fourth loss."""
    with client.session("policy") as session:
        session.step([1, 1])
        fake.failures = [(None, False)] + [(UNAVAILABLE, False)] * 1000
        clock = types.SimpleNamespace(monotonic=lambda: 0.0 if len(fake.failures) > 996 else PATIENCE + 1)
        monkeypatch.setattr("rnnserve.client.base_client.time", clock)
        with pytest.raises(Unavailable, match="the server is stopping"):
            session.step([[1, 0], [0, 1]], timeout=PATIENCE)
        assert len(fake.failures) == 996
        fake.failures = []
        assert session.steps == 1
        assert session.step([[1, 0], [0, 1]])["action"].tolist() == [[3], [4]]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
        (grpc.StatusCode.FAILED_PRECONDITION, FailedPrecondition),
        (grpc.StatusCode.INTERNAL, ClientError),
    ],
)
def test_other_errors_are_raised_at_once(client, fake, status, kind):
    with client.session("sums") as session:
        session.step([1, 1])
        fake.failures = [(status, False)]
        with pytest.raises(kind, match="the server is stopping"):
            session.step([1, 1])
        assert session.step([1, 1])["last"].tolist() == [2, 2]


def test_a_slow_answer_is_a_deadline(client, fake):
    with client.session("sums") as session:
        fake.blocked = threading.Event()
        with pytest.raises(DeadlineExceeded):
            session.step([1, 2], timeout=0.1)


def test_pauses_grow_to_a_second():
    pauses = [seconds for seconds, _ in zip(_pauses(), range(12), strict=False)]
    assert pauses[0] == 0
    assert all(0.01 * 2**number <= seconds <= 0.02 * 2**number for number, seconds in enumerate(pauses[1:6]))
    assert all(0.5 <= seconds <= 1 for seconds in pauses[7:])


def test_a_session_moves_to_the_next_address(state):
    """Two servers, of which the first is stopped in mid-session."""
    services = [FailingModels(MODELS, seals=state == "sealed") for _ in range(2)]  # type: ignore[abstract]
    with serving(services[1]) as second:
        with serving(services[0]) as first:
            client = Client(f"{first},{second}", balancing="pick_first")
            session = client.session("sums")
            assert session.step([1, 1])["last"].tolist() == [1, 1]
        assert session.step([1, 1])["last"].tolist() == [2, 2]
        client.close()
    assert [len(service.asked) for service in services] == [1, 1]


def serve_at(port, service):
    server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    rpc.add_GRPCInferenceServiceServicer_to_server(service, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server


def test_a_session_waits_for_a_server_that_starts_again(state):
    service = FailingModels(MODELS, seals=state == "sealed")  # type: ignore[abstract]
    with held_port() as port, Client(f"127.0.0.1:{port}") as client:
        server = serve_at(port, service)
        session = client.session("sums")
        session.step([1, 1])
        server.stop(None).wait()
        again = []
        timer = threading.Timer(0.2, lambda: again.append(serve_at(port, service)))
        timer.start()
        assert session.step([1, 1])["last"].tolist() == [2, 2]
        timer.join()
        again[0].stop(None).wait()
