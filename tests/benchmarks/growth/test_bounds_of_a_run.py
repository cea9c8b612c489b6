"""What a run may take: files, memory and time; and that failures of requests are not measured as speed."""

import contextlib
import resource
from concurrent import futures

import grpc
import pytest

from benchmarks.errors import LoadGeneratorFailed
from benchmarks.growth import many_models, turns
from benchmarks.growth.__main__ import main
from benchmarks.growth.results import Growth
from benchmarks.growth.sizes import SIZES
from benchmarks.server_names import LANE

LENGTH = next(size for size in SIZES if size.name == "length")
MODELS = next(size for size in SIZES if size.load is None)


@contextlib.contextmanager
def answering(answer):
    """A server that answers ModelInfer with bytes, or with an error."""
    method = grpc.unary_unary_rpc_method_handler(answer)
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": method})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


def test_requests_to_all_models_are_sent_in_turn_and_awaited():
    received = []

    def answer(message, _):
        received.append(message)
        return b""

    with answering(answer) as port:
        many_models.send_to_all(port, [b"a", b"b", b"c"], in_flight=1, seconds=0.2)
    assert len(received) >= 3
    assert [*received[:3]] == [b"a", b"b", b"c"]


def test_a_request_that_fails_is_said():
    def refuse(_, context):
        context.abort(grpc.StatusCode.NOT_FOUND, "no such model")

    with answering(refuse) as port, pytest.raises(LoadGeneratorFailed, match="the first: NOT_FOUND: no such model"):
        many_models.send_to_all(port, [b"a"], in_flight=2, seconds=5)


def test_too_few_open_files_are_said_before_h2load_fails(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    turns._check_open_files(700)
    with pytest.raises(LoadGeneratorFailed, match=r"needs 5,256 open files, and a process may have 1,024"):
        turns._check_open_files(5000)


def test_more_models_than_memory_are_not_started(monkeypatch):
    found = Growth(MODELS)
    many_models._check_memory(found, 100)  # nothing is known yet
    found.add(1, LANE, {"resident MB": 50.0})
    many_models._check_memory(found, 10)
    with pytest.raises(LoadGeneratorFailed, match="it may need 50,000,000 MB of memory"):
        many_models._check_memory(found, 1_000_000)


def test_a_run_without_time_left_starts_nothing_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(many_models, "_measure", lambda *_: pytest.fail("a turn began"))
    found = many_models.measure_models(MODELS, (1, 10), 2, 1.0, 0.0, tmp_path)
    assert found.failures == {1: turns.OUT_OF_TIME, 10: turns.OUT_OF_TIME}
    assert not found.points()


def test_rounds_visit_the_points_to_and_fro():
    assert [*turns._turns((1, 2, 3), 2)] == [(1, 1), (1, 2), (1, 3), (2, 3), (2, 2), (2, 1)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "width"], "there is no 'width'; choose from in_flight, connections"),
        (["--rounds", "0"], "--rounds must be 1 or more"),
        (["--minutes", "0"], "--minutes must be more than 0"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
