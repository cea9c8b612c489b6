"""Sequences whose states the server keeps: who can reach them, how long they live, and the order of their requests."""

import math
import traceback
from typing import Any

import pytest

from kit.checked_requests import checked_request
from kit.kept_sequences import FakeCaller, fake_served
from rnnserve.server.errors import (
    DeadlinePassed,
    InvalidRequest,
    NotFound,
    QueueFull,
    TooManySequences,
    Unsupported,
)
from rnnserve.server.fast_path.calls import PendingCall, StepCall
from rnnserve.server.protocol import sequences as sequences_module
from rnnserve.server.protocol.sequences import BeganOnAnotherVersion, Sequences, Step
from rnnserve.server.settings import Settings
from rnnserve.server.validation.signature import SequenceControl

SERVED = fake_served()
OWNER, STRANGER = FakeCaller("ipv4:10.0.0.1:50000"), FakeCaller("ipv4:10.0.0.1:50001")
KEY = "k" * 16


class World:
    """Sequences, a clock, and the connections that are open."""

    def __init__(self, monkeypatch, **options):
        self.now = 1000.0
        monkeypatch.setattr(sequences_module, "now", lambda: self.now)
        self.sequences = Sequences(Settings(**options))

    def enter(self, caller, *, identity=7, starts=False, ends=False, key="", served=SERVED, owner=None):
        step = Step(self.sequences, served, SequenceControl(identity, starts, ends, key))
        assert self.sequences.enter(step, caller.on(owner), None)
        return step

    def ask(self, caller, *, states=b"", **kwargs):
        """Answer a request of a sequence, and return the states that it continued from."""
        step = self.enter(caller, **kwargs)
        before = step.states(1)
        step.keep((states,), 1)
        return before

    def refusal(self, caller, **kwargs):
        with pytest.raises(NotFound) as raised:
            self.ask(caller, **kwargs)
        return str(raised.value)


@pytest.fixture
def make_world(monkeypatch):
    return lambda **options: World(monkeypatch, **options)


@pytest.fixture
def world(make_world):
    return make_world()


def test_idle_sequence_is_dropped(make_world):
    world = make_world(sequence_idle=60.0)
    world.ask(OWNER, starts=True)
    world.now += 60
    world.ask(OWNER)
    world.sequences.drop_idle()
    assert world.sequences.count == 1
    world.now += 60.1
    assert "or after 60 s without a request" in world.refusal(OWNER)
    assert world.sequences.count == 0
    world.ask(OWNER, starts=True)
    world.now += 60.1
    world.sequences.drop_idle()
    assert world.sequences.count == 0


def test_sequence_whose_request_waits_is_not_idle(make_world):
    world = make_world(sequence_idle=60.0)
    step = world.enter(OWNER, starts=True)
    world.now += 100
    world.ask(STRANGER, starts=True)
    step.keep((b"late",), 1)
    assert world.ask(OWNER) == (b"late",)


def test_bytes_of_sequences_are_bounded_in_all_and_for_a_connection_and_an_address(make_world):
    world = make_world(max_sequence_bytes=40)
    world.ask(OWNER, identity=1, starts=True, states=b"x" * 10)
    with pytest.raises(TooManySequences, match=r"already take 10 bytes, a quarter .* of one connection"):
        world.ask(OWNER, identity=2, starts=True, states=b"x")
    with pytest.raises(TooManySequences, match=r"already take 15 bytes, three eighths .* of one address"):
        world.ask(STRANGER, starts=True, states=b"x" * 6)
    world.ask(OWNER, identity=1, states=b"x")  # fewer: what was taken stays taken
    world.ask(OWNER, identity=1, ends=True)
    world.ask(OWNER, identity=3, starts=True, states=b"x" * 10)
    for host in (2, 3, 4):
        world.ask(FakeCaller(f"ipv4:10.0.0.{host}:1"), starts=True, states=b"x" * 10)
    with pytest.raises(TooManySequences, match=r"already take 40 bytes \(16 KiB for each of --max-sequences"):
        world.ask(FakeCaller("ipv4:10.0.0.5:1"), starts=True, states=b"x")


def test_ended_sequences_leave_no_counts(world):
    for caller in (OWNER, STRANGER):
        world.ask(caller, starts=True, states=b"x")
        world.ask(caller, key=KEY, starts=True, states=b"x")
    for caller in (OWNER, STRANGER):
        world.ask(caller, ends=True)
    world.ask(OWNER, key=KEY, ends=True)
    kept = world.sequences
    assert (kept.count, len(kept._counts), len(kept._nbytes)) == (0, 0, 0)


def test_sequence_stays_with_its_version(world):
    world.ask(OWNER, starts=True)
    assert world.sequences.find("model", SequenceControl(7, False, False), OWNER) is SERVED
    assert world.sequences.find("model", SequenceControl(7, True, False), OWNER) is None
    with pytest.raises(BeganOnAnotherVersion, match="began on version 1; this request names version 2"):
        world.ask(OWNER, served=fake_served(version="2"))
    world.ask(OWNER)
    with pytest.raises(Unsupported, match="does not accept sequences in parts: it looks ahead"):
        world.ask(OWNER, starts=True, served=fake_served(why_not_in_parts="it looks ahead"))


class Request:
    """A request of a sequence, as a transport has it. It records its turn and its errors in `told`."""

    def __init__(self, sequences, told, name, *, starts=False, ends=False, on_turn=None, served=SERVED):
        self.told, self.name, self._on_turn = told, name, on_turn
        self.step = Step(sequences, served, SequenceControl(7, starts, ends))
        if sequences.enter(self.step, FakeCaller(), self):
            self.take_turn()

    def take_turn(self):
        self.told.append(self.name)
        if self._on_turn is not None:
            self._on_turn(self)

    def answer(self):
        self.step.keep((self.name.encode(),), 1)

    def refuse(self, error):
        self.told.append(f"{self.name}: {error.status}")
        self.step.fail()


@pytest.fixture
def sequences():
    return Sequences(Settings(max_queue=8))


@pytest.fixture
def told():
    return []


@pytest.fixture
def send(sequences, told):
    """Sends a request of the sequence."""
    return lambda name, **kwargs: Request(sequences, told, name, **kwargs)


def test_number_of_waiting_requests_is_bounded_for_each_model(send, told):
    models = [fake_served("model"), fake_served("other"), fake_served("third")]
    firsts = [send("a", starts=True, served=served) for served in models]
    for served in models[:2]:
        for number in range(8):
            send(str(number), on_turn=Request.answer, served=served)
        with pytest.raises(QueueFull, match=f'sequence 7 of model "{served.model.name}".*: 8 requests are already'):
            send("late", served=served)
    send("of the third", served=models[2])
    firsts[0].answer()
    assert told == ["a", "a", "a", *"01234567"]
    send("again", starts=True, served=models[0])
    send("waits", served=models[0])
    with pytest.raises(QueueFull):
        send("late", served=models[1])


def test_request_that_arrives_during_a_turn_is_queued_last(send, told):
    def refuse_and_send_another(request):
        request.refuse(DeadlinePassed("late"))
        send("d", on_turn=Request.answer)

    first = send("a", starts=True)
    send("b", on_turn=refuse_and_send_another)
    send("c", on_turn=Request.answer)
    first.answer()
    assert told == ["a", "b", "b: DEADLINE_EXCEEDED", "c", "d"]


def test_many_refusals_do_not_recurse(told):
    """Not each within the one before: Python allows a thousand calls in calls."""
    sequences, depths = Sequences(Settings(max_queue=100)), set()
    first = Request(sequences, told, "a", starts=True)

    def refuse(request):
        depths.add(len(traceback.extract_stack()))
        request.refuse(QueueFull("model", 1))

    for _ in range(100):
        Request(sequences, told, "b", on_turn=refuse)
    first.answer()
    assert told == ["a", *["b", "b: RESOURCE_EXHAUSTED"] * 100]
    assert len(depths) == 1
    assert Request(sequences, told, "c").step.states(1) == (b"a",)


@pytest.mark.parametrize("is_over", [False, True])
def test_defect_of_one_request_does_not_block_the_next(sequences, send, told, is_over):
    class Broken(Request):
        def take_turn(self):
            raise RuntimeError("defect")

        def refuse(self, _):
            raise RuntimeError("and another")

    first = send("a", starts=True, ends=is_over)
    Broken(sequences, told, "b")
    send("c", on_turn=Request.answer)
    first.answer()
    assert told == ["a", "c: NOT_FOUND" if is_over else "c"]


def test_turn_passes_to_the_next_request_when_memory_is_short(told):
    sequences = Sequences(Settings(max_sequence_bytes=4))
    first = Request(sequences, told, "a", starts=True)
    Request(sequences, told, "b")
    with pytest.raises(TooManySequences):
        first.step.keep((b"too long",), 1)
    first.step.fail()
    assert told == ["a", "b: NOT_FOUND"]


class Call(PendingCall):
    """A request of one row as it waits without its sequence, which keeps what it is told."""

    def __init__(self, deadline=math.inf, timeout=math.inf):
        arrived: Any = FakeCaller()
        arrived.deadline, arrived.make_room = deadline, lambda _: None
        super().__init__(arrived, SERVED, 1, 1, 0.0, checked_request(1, 1, {}, ()))
        self.timeout = timeout
        self.told = []

    def check(self):
        raise InvalidRequest("wrong")

    def answer(self, outputs):
        self.told.append(outputs)

    refuse = answer


@pytest.fixture
def submitted():
    """What has been submitted when its turn came, by model."""
    return []


@pytest.fixture
def enter(submitted):
    """Takes a request into its sequence; gives it, and whether it may be submitted now."""
    sequences = Sequences(Settings(max_queue=2))

    def enter(*, starts=False, call=None):
        step = StepCall(call or Call(), None, lambda model, step: submitted.append((model, step)))
        entered = step.enter(sequences, SequenceControl(7, starts, False))
        assert entered in (step, None)
        return step, entered is not None

    return enter
