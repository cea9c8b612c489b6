"""A request that waits as a step of its sequence: the one way in, and how it is answered, without a transport."""

import math
import types

import pytest

from kit.kept_sequences import FakeCaller, fake_served
from rnnserve.server.batching.lateness import reason_to_drop
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.boundary.sequence_parameters import SequenceControl
from rnnserve.server.errors import (
    Cancelled,
    DeadlinePassed,
    InternalError,
    InvalidRequest,
    NotFound,
    QueueFull,
    TimeoutExpired,
)
from rnnserve.server.protocol.pending_steps import PendingStep
from rnnserve.server.protocol.sequence_turns import Step
from rnnserve.server.protocol.sequences import Sequences
from rnnserve.server.settings import Settings

SERVED = fake_served()


class Call(PendingRequest):
    """A request as a transport has it, which keeps what it is told."""

    connection = "a"

    def __init__(self, deadline=math.inf, timeout=math.inf):
        super().__init__(1, 1, deadline, 0.0, timeout)
        self.told = []

    def origin(self):
        raise NotImplementedError

    def check(self):
        raise InvalidRequest("wrong")

    def answer(self, outputs):
        self.told.append(outputs)

    refuse = answer


class StepOfCall(PendingStep):
    """The wrapper with what each transport adds: the slots, and where it is submitted."""

    __slots__ = ("_pending", "_submit", "step")

    connection = "a"

    def __init__(self, call, submitted):
        super().__init__(call.rows, call.steps, call.deadline, call.arrived, call.timeout)
        self._pending = call
        self._submit = lambda model, step: submitted.append((model, step))

    def keep(self):
        """Keep states without a run, and answer."""
        self.step.keep((b"state",), 1)
        self._pending.answer({})


@pytest.fixture
def sequences():
    return Sequences(Settings(max_queue=2), lambda _: True)


def enter(sequences, submitted, *, starts=False, ends=False, call=None):
    step = StepOfCall(call or Call(), submitted)
    entered = step.enter(sequences, SERVED, SequenceControl(7, starts, ends), FakeCaller(), None)
    assert entered in (step, None)
    return step, entered is not None


def test_the_first_may_be_submitted_now_and_the_next_is_when_it_has_been_answered(sequences):
    submitted = []
    first, may_now = enter(sequences, submitted, starts=True)
    assert may_now
    second, may_now = enter(sequences, submitted)
    assert not may_now
    assert submitted == []
    first.keep()
    assert submitted == [(SERVED.model, second)]
    assert second.step.states(1) == (b"state",)


def test_one_that_has_no_part_in_a_sequence_is_not_answered_but_raises(sequences):
    call = Call()
    with pytest.raises(NotFound):
        enter(sequences, [], call=call)
    assert call.told == []


def test_one_that_cannot_line_up_is_answered_and_holds_up_nothing(sequences):
    submitted, late = [], Call()
    first, _ = enter(sequences, submitted, starts=True)
    for _ in range(2):
        enter(sequences, submitted)
    assert not enter(sequences, submitted, call=late)[1]
    assert [type(told) for told in late.told] == [QueueFull]
    first.keep()
    assert len(submitted) == 1


def test_a_defect_in_lining_up_is_answered(sequences, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("secret")

    monkeypatch.setattr(Step, "line_up", broken)
    call = Call()
    assert not enter(sequences, [], starts=True, call=call)[1]
    assert [type(told) for told in call.told] == [InternalError]
    assert "secret" in caplog.text


def test_a_refused_one_leaves_the_sequence_as_it_was_even_where_its_caller_cannot_be_told(sequences):
    submitted = []
    enter(sequences, submitted, starts=True)[0].keep()

    class Deaf(Call):
        def refuse(self, _):
            raise ConnectionError

    wrong, _ = enter(sequences, submitted, call=Deaf())
    second, _ = enter(sequences, submitted)
    with pytest.raises(ConnectionError):
        wrong.refuse(InvalidRequest("wrong"))
    assert submitted == [(SERVED.model, second)]
    assert second.step.states(1) == (b"state",)


def test_what_is_wrong_with_the_request_itself_is_told(sequences):
    step, _ = enter(sequences, [], starts=True)
    with pytest.raises(InvalidRequest, match="wrong"):
        step.check()


def test_an_answer_that_cannot_be_kept_is_a_refusal(sequences):
    call = Call()
    step, _ = enter(sequences, [], starts=True, call=call)
    step.step = types.SimpleNamespace(finish=_full, fail=lambda: None)
    step.answer({})
    (told,) = call.told
    assert type(told) is QueueFull
    assert told.is_after_run  # it is counted among the answered ones no more


def _full(_):
    raise QueueFull("model", 1)


@pytest.mark.parametrize(("deadline", "timeout", "told"), [(5.0, math.inf, DeadlinePassed), (5.0, 2.5, TimeoutExpired)])
def test_it_is_late_when_the_request_is(sequences, deadline, timeout, told):
    step, _ = enter(sequences, [], starts=True, call=Call(deadline, timeout))
    assert reason_to_drop(step, 5.0) is None
    assert isinstance(reason_to_drop(step, 5.1), told)
    step.cancel()
    assert isinstance(reason_to_drop(step, 0.0), Cancelled)


def test_it_gives_way_to_no_other_connection(sequences):
    assert not enter(sequences, [], starts=True)[0].may_be_displaced
