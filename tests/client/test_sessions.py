"""Sessions against a server whose models are arithmetic that a test can redo, and which fails as a test wants."""

# ruff: noqa: ARG002, N802 - a fake's methods have the names and arguments of the protocol's

import asyncio
import base64
import threading
from concurrent import futures
from dataclasses import dataclass, field

import grpc
import numpy as np
import pytest

from rnnserve.client import (
    AsyncClient,
    Client,
    ClientError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidAnswer,
    InvalidRequest,
    Unavailable,
    Unimplemented,
)
from rnnserve.client.repeated_calls import _pauses
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from support.fakes import FakeModel, FakeModels, serving

UNAVAILABLE, CANCELLED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED
STATE = (("layers", 1), "batch", ("features", 2))


def add_up(tensors):
    """Over (sequence, batch, features), with a state (1, batch, features)."""
    points = tensors["x"]
    lengths = tensors.get("steps", np.full(points.shape[1], len(points)))
    inside = (np.arange(len(points))[:, None] < lengths)[..., None]
    state = tensors.get("start", np.zeros((1, *points.shape[1:]), "<f4"))
    running = (np.cumsum(points * inside, axis=0) + state).astype("<f4")
    return {"running": running, "last": running[-1], "end": running[-1:]}


def act(tensors):
    memory = tensors["memory"] + tensors["observation"]
    return {"action": memory.sum(axis=1, keepdims=True), "next": memory}


def count(tensors):
    state = tensors.get("seen", np.zeros(len(tensors["tokens"]), "<i8"))
    return {"doubled": 2 * tensors["tokens"], "seen_n": state + tensors["tokens"].shape[1]}


def meet(tensors):
    return {"sum": tensors["source"].sum(1) + tensors["target"].sum(1) + tensors["h"], "h_n": tensors["h"]}


SUMS = FakeModel(
    {
        "x": ("FP32", ("sequence", "batch", ("features", 2))),
        "steps": ("INT32", ("batch",), {"lengths_of": "sequence", "optional": True}),
        "start": ("FP32", STATE, {"optional": True}),
    },
    {
        "running": ("FP32", ("sequence", "batch", ("features", 2))),
        "last": ("FP32", ("batch", ("features", 2))),
        "end": ("FP32", STATE, {"continues_as": "start"}),
    },
    add_up,
    {"continuable": "true"},
)
POLICY = FakeModel(
    {"observation": ("FP32", ("batch", ("features", 2))), "memory": ("FP32", ("batch", ("features", 2)))},
    {
        "action": ("FP32", ("batch", ("actions", 1))),
        "next": ("FP32", ("batch", ("features", 2)), {"continues_as": "memory"}),
    },
    act,
)
MODELS = {
    "sums": SUMS,
    "policy": POLICY,
    "tokens": FakeModel(
        {"tokens": ("INT64", ("batch", "sequence")), "seen": ("INT64", ("batch",), {"optional": True})},
        {"doubled": ("INT64", ("batch", "sequence")), "seen_n": ("INT64", ("batch",), {"continues_as": "seen"})},
        count,
        {"batching": "joined"},
    ),
    "stateless": FakeModel(POLICY.inputs, {"action": POLICY.outputs["action"]}, act),
    "both_ways": FakeModel(SUMS.inputs, SUMS.outputs, add_up, {"continuable": "false"}),
    "two_axes": FakeModel(
        {
            "source": ("FP32", ("batch", "source")),
            "target": ("FP32", ("batch", "target")),
            "h": ("FP32", ("batch",), {"optional": True}),
        },
        {"sum": ("FP32", ("batch",)), "h_n": ("FP32", ("batch",), {"continues_as": "h"})},
        meet,
    ),
}


@dataclass
class FailingModels(FakeModels):
    """Fails as often as a test wants, and seals states: a token is what they are, in base64.

    Attributes:
        failures: Status of each of the next requests, before or after it was computed ("lost"); None to answer it.
        versions: What the server says that it is.
        seals: Whether it takes sessions.
        sessions: The parameter of each request.
        version: The version that answers.
        asked_versions: The version that each request asked for.
    """

    failures: list = field(default_factory=list)
    seals: bool = False
    forgets: bool = False
    sessions: list = field(default_factory=list)
    version: str = "1"
    asked_versions: list = field(default_factory=list)
    blocked: threading.Event | None = None

    def ServerMetadata(self, request, context):
        return pb.ServerMetadataResponse(name="fake", version="1", extensions=["sealed_sessions"] * self.seals)

    def ModelInfer(self, request, context):
        failure, lost = self.failures.pop(0) if self.failures else (None, False)
        if failure is not None and not lost:
            context.abort(failure, "the server is stopping")
        if self.blocked is not None:
            self.blocked.wait(10)
        self.asked_versions.append(request.model_version)
        if "session" in request.parameters:
            answer = self._continue(request, context)
        else:
            answer = super().ModelInfer(request, context)
        answer.model_version = self.version
        if failure is not None:
            context.abort(failure, "the connection is lost")
        return answer

    def _continue(self, request, context):
        model = self.models[request.model_name]
        token = request.parameters["session"].string_param
        self.sessions.append(token)
        pairs = {kind[2]["continues_as"]: name for name, kind in model.outputs.items() if len(kind) > 2}
        asked = [output.name for output in request.outputs]
        if token != "sealed":
            kept = pb.ModelInferRequest.FromString(base64.b64decode(token))
            request.inputs.extend(kept.inputs)
            request.raw_input_contents.extend(kept.raw_input_contents)
        for name in pairs.values():
            request.outputs.add(name=name)
        answer = super().ModelInfer(request, context)
        kept = pb.ModelInferRequest()
        for initial, final in pairs.items():
            at = [output.name for output in answer.outputs].index(final)
            output = answer.outputs[at]
            kept.inputs.add(name=initial, datatype=output.datatype, shape=output.shape)
            kept.raw_input_contents.append(answer.raw_output_contents[at])
        del answer.outputs[len(asked) :], answer.raw_output_contents[len(asked) :]
        if not self.forgets:
            answer.parameters["session"].string_param = base64.b64encode(kept.SerializeToString()).decode()
        return answer


@pytest.fixture(scope="module")
def _served():
    service = FailingModels(MODELS)  # type: ignore[abstract]
    with serving(service) as address:
        yield service, address


@pytest.fixture
def url(_served):
    return _served[1]


@pytest.fixture
def fake(_served):
    """The fake, as new for every test."""
    service, _ = _served
    for name, value in vars(FailingModels(MODELS)).items():  # type: ignore[abstract]
        setattr(service, name, value)
    yield service
    if service.blocked is not None:
        service.blocked.set()


class Awaited:
    """An AsyncClient or AsyncSession whose methods are awaited for the caller."""

    def __init__(self, awaited, runner):
        self._awaited = awaited
        self._runner = runner

    def __getattr__(self, name):
        value = getattr(self._awaited, name)
        if not callable(value):
            return value

        def call(*args, **named):
            result = value(*args, **named)
            return self._runner.run(as_coroutine(result)) if asyncio.iscoroutine(result) else result

        return call

    def session(self, *args, **named):
        return Awaited(self._awaited.session(*args, **named), self._runner)

    def __enter__(self):
        self._runner.run(self._awaited.__aenter__())
        return self

    def __exit__(self, *raised):
        self._runner.run(self._awaited.__aexit__(*raised))


async def as_coroutine(awaitable):
    return await awaitable


@pytest.fixture(params=["sync", "async"])
def client(request, url, fake):
    if request.param == "sync":
        with Client(url) as client:
            yield client
    else:
        with asyncio.Runner() as runner, Awaited(AsyncClient(url), runner) as client:
            yield client


@pytest.fixture(params=["carried", "sealed"])
def state(request, fake):
    """How the state travels; the server offers both, or only the one."""
    fake.seals = request.param == "sealed"
    return request.param


def test_points_one_by_one_and_several_at_once(client, state):
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


def test_a_model_of_single_steps(client, state):
    with client.session("policy") as session:
        assert session.step([1, 2])["action"].tolist() == [3]
        assert session.step([[1, 1], [0, 2]])["action"].tolist() == [[5], [7]]
        assert session.steps == 3
    with client.session("policy", ["action", "next"], rows=2) as session:
        first, second = session.step([[1, 2], [10, 20]])
        assert (first["action"].tolist(), second["action"].tolist()) == ([3], [30])
        first, second = session.step([[[1, 1], [0, 2]], [[0, 1], [0, 1]]])
        assert (first["action"].tolist(), second["action"].tolist()) == ([[5], [7]], [[31], [32]])
        assert second["next"].tolist() == [10, 22]  # the state after the last step


def test_token_ids(client, state):
    with client.session("tokens", outputs=["doubled", "seen_n"]) as session:
        assert session.step(5)["doubled"].tolist() == 10
        answer = session.step([1, 2, 3])
        assert (answer["doubled"].tolist(), answer["seen_n"].tolist()) == ([2, 4, 6], 4)


def test_rows_of_different_lengths(client, state):
    with client.session("sums", rows=2) as session:
        session.step([[1, 1], [2, 2]])
        first, second = session.step([[[1, 1], [1, 1]], [[2, 2]]])
        assert (first["running"].tolist(), second["running"].tolist()) == ([[2, 2], [3, 3]], [[4, 4]])
        assert session.steps == 3
        first, second = session.step([[1, 0], [0, 1]])
        assert (first["last"].tolist(), second["last"].tolist()) == ([4, 3], [4, 5])
        first, second = session.step([[1, 0], [[0, 1], [0, 1]]])  # a point, and two: each has the sequence axis
        assert (first["running"].tolist(), second["running"].tolist()) == ([[5, 3]], [[4, 6], [4, 7]])


def test_rows_that_share_no_request_are_carried_only(client, fake):
    with client.session("tokens", rows=2, outputs=["seen_n"]) as session:
        session.step([[1, 2], [3]])
        assert [row["seen_n"].tolist() for row in session.step([[1], [2, 3]])] == [3, 3]
    fake.seals = True
    with (
        client.session("tokens", rows=2) as session,
        pytest.raises(InvalidRequest, match=r'do not share one request.*state="carried"'),
    ):
        session.step([[1, 2], [3]])


def test_the_form_of_the_state_can_be_chosen(client, fake):
    with pytest.raises(Unimplemented, match=r'seals no states.*state="carried" needs none'):
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


def test_sessions_begin_with_states_and_begin_anew(client, state):
    before = client.predict("sums", [[[1, 1], [2, 2]], [[5, 5]]])
    with client.session("sums", continue_from=before[0]) as session:
        assert [session.step([1, 0])["last"].tolist() for _ in range(2)] == [[4, 3], [5, 3]]
        session.reset()
        assert session.steps == 0
        assert session.step([1, 0])["last"].tolist() == [4, 3]
    with client.session("sums", rows=3, continue_from=[*before, None]) as session:
        assert [row["last"].tolist() for row in session.step([[1, 0]] * 3)] == [[4, 3], [6, 5], [1, 0]]


@pytest.mark.parametrize("failure", [(UNAVAILABLE, False), (UNAVAILABLE, True), (CANCELLED, False), (CANCELLED, True)])
def test_a_lost_step_is_sent_again(client, fake, state, failure):
    """Whether or not the server had computed it, nothing is lost, and nothing is counted twice."""
    with client.session("sums") as session:
        session.step([1, 1])
        fake.failures = [failure] * 3
        assert session.step([1, 1])["last"].tolist() == [2, 2]
        assert session.step([1, 1])["last"].tolist() == [3, 3]
        assert session.steps == 3


def test_after_the_timeout_the_last_loss_is_raised_and_the_step_can_be_made_again(client, fake, state):
    with client.session("policy") as session:
        session.step([1, 1])
        fake.failures = [(None, False)] + [(UNAVAILABLE, False)] * 1000
        with pytest.raises(Unavailable, match="the server is stopping"):
            session.step([[1, 0], [0, 1]], timeout=0.3)
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


def test_all_steps_go_to_the_version_that_answered_first(client, fake):
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


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ("stateless", "model stateless has no states, so that it has no sessions: predict"),
        ("both_ways", "model both_ways has no sessions: the parts of a sequence.*A bidirectional layer"),
        ("two_axes", r"model two_axes has several sequence axes \(source, target\)"),
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
        ("sums", None, [[[1, 2]]], "has a batch axis of its own"),
        ("sums", 2, [[1, 2]], "x has 1 rows. Expected 2, as many as the session has"),
        ("sums", 2, 5, "x is a int. Expected a list with one entry for each of 2 rows"),
        ("sums", None, {"x": [1, 2], "start": [[1, 2]]}, "start is the session's own state: continue_from gives"),
        ("sums", None, {"y": [1, 2]}, "takes no y"),
        ("policy", 2, [[[1, 2]], [[1, 2], [3, 4]]], "observation has 1 and 2 steps: expected as many in each row"),
        ("policy", None, np.zeros((0, 2)), "observation has 0 steps"),
    ],
)
def test_points_that_do_not_fit_are_refused(client, model, rows, point, complaint):
    with client.session(model, rows=rows) as session:
        with pytest.raises(InvalidRequest, match=complaint):
            session.step(point)
        assert session.steps == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"model": ""}, "the model's name is empty"),
        ({"rows": 0}, "rows 0: expected 1 or more"),
        ({"state": "kept"}, "state 'kept': expected"),
        ({"rows": 2, "continue_from": [None]}, "continue_from has 1 rows; the session has 2"),
    ],
)
def test_arguments_that_no_session_has(client, arguments, complaint):
    with pytest.raises(InvalidRequest, match=complaint):
        client.session(**{"model": "sums", **arguments})
    with pytest.raises(InvalidRequest, match="no output `sum`"):
        client.session("sums", ["sum"]).step([1, 2])


def test_an_answer_without_a_token(client, fake):
    fake.seals = fake.forgets = True
    with client.session("sums") as session, pytest.raises(InvalidAnswer, match="lacks the token"):
        session.step([1, 2])


def test_a_session_that_was_left_takes_no_steps(client):
    with client.session("sums") as session:
        session.step([1, 2])
    for use in (lambda: session.step([1, 2]), session.reset):
        with pytest.raises(RuntimeError, match="this session of sums is closed: begin a new one"):
            use()


def test_a_session_has_one_step_at_a_time(url, fake):
    fake.blocked = threading.Event()
    with Client(url) as client, client.session("sums") as session:
        thread = threading.Thread(target=session.step, args=([1, 2],))
        thread.start()
        while not session._operations._busy.locked():
            pass
        with pytest.raises(RuntimeError, match="a step of this session of sums is in progress"):
            session.step([1, 2])
        fake.blocked.set()
        thread.join()
        assert session.steps == 1


def test_a_cancelled_step_leaves_the_session_as_it_was(url, fake):
    async def main():
        async with AsyncClient(url) as client, client.session("sums") as session:
            await session.step([1, 2])
            fake.blocked = threading.Event()
            task = asyncio.create_task(session.step([1, 2]))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            fake.blocked.set()
            return session.steps, await session.step([1, 2])

    steps, answer = asyncio.run(main())
    assert (steps, answer["last"].tolist()) == (1, [2, 4])


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
            client = Client(f"{first},{second}")
            session = client.session("sums")
            assert session.step([1, 1])["last"].tolist() == [1, 1]
        assert session.step([1, 1])["last"].tolist() == [2, 2]
        client.close()
    assert [len(service.asked) for service in services] == [1, 1]


def serve_at(port, service):
    server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    rpc.add_GRPCInferenceServiceServicer_to_server(service, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, port


def test_a_session_waits_for_a_server_that_starts_again(state):
    service = FailingModels(MODELS, seals=state == "sealed")  # type: ignore[abstract]
    server, port = serve_at(0, service)
    with Client(f"127.0.0.1:{port}") as client, client.session("sums") as session:
        session.step([1, 1])
        server.stop(None).wait()
        again = []
        timer = threading.Timer(0.2, lambda: again.append(serve_at(port, service)[0]))
        timer.start()
        assert session.step([1, 1])["last"].tolist() == [2, 2]
        timer.join()
    again[0].stop(None)
