"""Sequences against a model: several connections and streams start, continue and end them, in any order."""

from collections import deque

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kit.kept_sequences import FakeCaller, fake_served
from rnnserve.server.errors import (
    DeadlinePassed,
    NotFound,
    QueueFull,
    SequenceInUse,
    ServeError,
    TooManySequences,
)
from rnnserve.server.protocol import sequences as sequences_module
from rnnserve.server.protocol.sequences import Sequences, Step, StreamOwner
from rnnserve.server.settings import Settings
from rnnserve.server.validation.signature import SequenceControl

SERVED = fake_served()
MOST_WAITING, MOST_SEQUENCES, OF_CONNECTION, OF_ADDRESS, IDLE = 3, 8, 2, 3, 60.0
CALLERS = [FakeCaller(f"ipv4:10.0.0.{host}:{port}") for host, port in ((1, 1), (1, 2), (1, 3), (2, 1))]
HOSTS = [caller.peer().rpartition(":")[0] for caller in CALLERS]


class Modelled:
    """A sequence, as the reference model sees it.

    Attributes:
        caller: The number of the caller whose connection it belongs to.
        state: What its last answered request has left; None before the first.
        line: Its requests that are not answered yet; the first has its turn.
        is_over: Whether it has ended.
        stream: The stream that its last request came on; None for none, or one that has ended.
    """

    def __init__(self, caller, stream):
        self.caller = caller
        self.state, self.line, self.is_over, self.stream = None, deque(), False, stream


class Request:
    """A request, as a transport sees it.

    Attributes:
        step: Its step of the sequence.
        sequence: The sequence of the model that it belongs to.
        told: What it has been told: "turn", or the class of an error.
    """

    sequence: Modelled

    def __init__(self, name, step, *, starts, ends):
        self.name, self.step, self.starts, self.ends = name, step, starts, ends
        self.told = []

    def take_turn(self):
        self.told.append("turn")

    def refuse(self, error):
        self.told.append(type(error))
        self.step.fail()


class SequenceMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.patched, self.now = pytest.MonkeyPatch(), 1000.0
        self.patched.setattr(sequences_module, "now", lambda: self.now)
        self.count = 0
        self.streams = {(caller, number): StreamOwner() for caller in range(4) for number in (1, 2)}
        limits = Settings(max_queue=MOST_WAITING, max_sequences=MOST_SEQUENCES, sequence_idle=IDLE)
        self.sequences = Sequences(limits)
        self.kept = {}  # by caller and id
        self.running = []

    def teardown(self):
        self.patched.undo()

    @rule(
        caller=st.sampled_from([0, 0, 0, 1, 1, 2, 3]),
        identity=st.sampled_from([1, 1, 2, 3]),
        kind=st.sampled_from(["start", "step", "step", "end"]),
        stream=st.sampled_from([None, None, 1, 2]),
    )
    def send(self, caller, identity, kind, stream):
        starts, ends = kind == "start", kind == "end"
        stream = stream and (caller, stream)
        expected = self.expected(caller, identity, starts, stream)
        owner = stream and self.streams[stream]
        self.count += 1
        step = Step(self.sequences, SERVED, SequenceControl(identity, starts, ends))
        request = Request(str(self.count).encode(), step, starts=starts, ends=ends)
        is_full = sum(len(each.line) - 1 for each in self.all_lines()) >= MOST_WAITING
        try:
            has_turn = self.sequences.enter(step, CALLERS[caller].on(owner), request)
        except QueueFull:
            assert is_full
            assert expected.line
            expected.stream = stream
            return
        except ServeError as error:
            assert type(error) is expected  # noqa: PT017 - it may also be let in
            return
        assert not isinstance(expected, type), expected
        sequence = self.kept[caller, identity] = request.sequence = expected
        sequence.stream = stream
        assert not (is_full and sequence.line)
        sequence.line.append(request)
        assert has_turn == (len(sequence.line) == 1)
        if has_turn:
            request.take_turn()
            self.check_turn(request)

    def all_lines(self):
        """The sequences with a request in flight. Some of them started again in the meantime."""
        return {request.sequence for request in self.running}

    def expected(self, caller, identity, starts, stream):
        """The expected sequence of a request, or the expected error."""
        sequence = self.kept.get((caller, identity))
        if sequence is not None and sequence.stream not in (None, stream):
            return SequenceInUse
        if starts:
            others = [each for key, each in self.kept.items() if key != (caller, identity)]
            if len(others) >= MOST_SEQUENCES:
                return TooManySequences
            if sum(each.caller == caller for each in others) >= OF_CONNECTION:
                return TooManySequences
            if sum(HOSTS[each.caller] == HOSTS[caller] for each in others) >= OF_ADDRESS:
                return TooManySequences
            return Modelled(caller, stream)
        return NotFound if sequence is None else sequence

    def check_turn(self, request):
        """Each request continues from the state after the previous request."""
        self.running.append(request)
        state = request.sequence.state
        assert request.step.states(1) == (() if request.starts or state is None else (state,))

    def pass_on(self, sequence):
        """Check the callbacks when the first request of the queue has a response or an error."""
        sequence.line.popleft()
        while sequence.line:
            request = sequence.line[0]
            if sequence.is_over:
                assert request.told == [NotFound]
                sequence.line.popleft()
            else:
                assert request.told == ["turn"]
                self.check_turn(request)
                return

    def drop(self, sequence):
        sequence.is_over = True
        self.kept = {key: each for key, each in self.kept.items() if each is not sequence}

    @precondition(lambda self: self.running)
    @rule(at=st.integers(0, 9))
    def answer(self, at):
        request = self.running.pop(at % len(self.running))
        request.sequence.state = request.name
        request.step.keep((request.name,), 1)
        if request.ends:
            self.drop(request.sequence)
        self.pass_on(request.sequence)

    @precondition(lambda self: self.running)
    @rule(at=st.integers(0, 9))
    def refuse(self, at):
        request = self.running.pop(at % len(self.running))
        request.refuse(DeadlinePassed("late"))
        if request.starts:
            self.drop(request.sequence)
        self.pass_on(request.sequence)

    @rule(caller=st.integers(0, 3), number=st.sampled_from([1, 2]))
    def end_stream(self, caller, number):
        stream = caller, number
        self.streams[stream].is_open = False
        self.streams[stream] = StreamOwner()
        for each in self.kept.values():
            if each.stream == stream:
                each.stream = None

    @precondition(lambda self: not self.running)
    @rule()
    def be_idle(self):
        self.now += IDLE + 1.0
        self.kept.clear()
        self.sequences.drop_idle()

    @invariant()
    def nothing_else_is_kept(self):
        assert self.sequences.count == len(self.kept)
        assert self.sequences._waiting.total() == sum(len(each.line) - 1 for each in self.all_lines())


# An example that fails is short enough: to look for a shorter one takes minutes.
SequenceMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=25, phases=[Phase.generate])
TestSequences = SequenceMachine.TestCase
