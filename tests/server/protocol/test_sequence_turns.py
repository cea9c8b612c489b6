"""The turns of a sequence's requests: in order, one at a time, and passed on however a request ends."""

import gc
import threading
import weakref
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.kept_sequences import FakeCaller, fake_served
from rnnserve.server.boundary.sequence_parameters import SequenceControl
from rnnserve.server.errors import DeadlinePassed, NotFound, QueueFull, ServeError, TooManySequences
from rnnserve.server.protocol.sequence_store import SequenceStore
from rnnserve.server.protocol.sequences import Sequences
from rnnserve.server.settings import Settings

SERVED = fake_served()


class Request:
    """A request of a sequence, as a transport has it: what it is told is noted, in order, with all others."""

    def __init__(self, sequences, told, name, *, starts=False, ends=False, on_turn=None, served=SERVED):
        self.told, self.name, self._on_turn = told, name, on_turn
        self.step = sequences.enter(served, SequenceControl(7, starts, ends), FakeCaller())

    def line_up(self):
        if self.step.line_up(self):
            self.take_turn()
        return self

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
    return Sequences(Settings(max_queue=8), lambda _: True)


@pytest.fixture
def told():
    return []


def test_they_run_one_after_another_in_the_order_of_their_arrival(sequences, told):
    first = Request(sequences, told, "a", starts=True).line_up()
    others = [Request(sequences, told, name).line_up() for name in "bcd"]
    assert told == ["a"]
    for request in (first, *others):
        assert told[-1] == request.name
        request.answer()
    assert told == ["a", "b", "c", "d"]
    assert Request(sequences, told, "e").line_up().step.states(1) == (b"d",)


def test_a_refused_one_leaves_the_states_and_passes_its_turn(sequences, told):
    Request(sequences, told, "a", starts=True).line_up().answer()
    wrong = Request(sequences, told, "b").line_up()
    right = Request(sequences, told, "c").line_up()
    wrong.refuse(DeadlinePassed("late"))
    assert told[-1] == "c"
    assert right.step.states(1) == (b"a",)


def test_after_the_end_those_that_wait_are_refused(sequences, told):
    last = Request(sequences, told, "a", starts=True, ends=True).line_up()
    waiting = [Request(sequences, told, name).line_up() for name in "bc"]
    last.answer()
    assert told == ["a", "b: NOT_FOUND", "c: NOT_FOUND"]
    with pytest.raises(NotFound):
        Request(sequences, told, "d")
    assert len(waiting) == 2


def test_a_first_one_that_is_refused_ends_its_sequence(sequences, told):
    first = Request(sequences, told, "a", starts=True).line_up()
    Request(sequences, told, "b").line_up()
    first.refuse(DeadlinePassed("late"))
    assert told == ["a", "a: DEADLINE_EXCEEDED", "b: NOT_FOUND"]


def test_one_that_arrived_before_the_end_and_lines_up_after_it_is_refused(sequences, told):
    last = Request(sequences, told, "a", starts=True, ends=True).line_up()
    slow = Request(sequences, told, "b")  # is parsed on another thread
    last.answer()
    with pytest.raises(NotFound, match="is not known"):
        slow.line_up()
    slow.step.fail()


def test_one_that_never_lines_up_takes_no_turn_of_another(sequences, told):
    Request(sequences, told, "a", starts=True).line_up().answer()
    running = Request(sequences, told, "b").line_up()
    Request(sequences, told, "c").line_up()
    Request(sequences, told, "x").step.fail()
    assert told == ["a", "b"]
    running.answer()
    assert told == ["a", "b", "c"]


def test_too_many_that_wait_are_refused_and_have_no_part_in_it(sequences, told):
    first = Request(sequences, told, "a", starts=True).line_up()
    for number in range(8):
        Request(sequences, told, str(number), on_turn=Request.answer).line_up()
    with pytest.raises(QueueFull, match=r"sequence 7 of model .*: 8 requests wait already"):
        (late := Request(sequences, told, "late")).line_up()
    late.step.fail()
    assert told == ["a"]
    first.answer()
    assert told == ["a", *"01234567"]


def test_each_model_has_as_many_that_wait(sequences, told):
    models = [fake_served("model"), fake_served("other"), fake_served("third")]
    firsts = [Request(sequences, told, "a", starts=True, served=served).line_up() for served in models]
    for served in models[:2]:
        for number in range(8):
            Request(sequences, told, str(number), on_turn=Request.answer, served=served).line_up()
        with pytest.raises(QueueFull, match=f'sequence 7 of model "{served.model.name}".*: 8 requests wait already'):
            Request(sequences, told, "late", served=served).line_up()
    Request(sequences, told, "of the third", served=models[2]).line_up()
    firsts[0].answer()
    assert told == ["a", "a", "a", *"01234567"]
    Request(sequences, told, "again", starts=True, served=models[0]).line_up()
    Request(sequences, told, "waits", served=models[0]).line_up()
    with pytest.raises(QueueFull):
        Request(sequences, told, "late", served=models[1]).line_up()


def test_thousands_that_are_refused_in_their_turn_are_refused_one_after_another(told):
    """Not each within the one before: Python allows a thousand calls in calls."""
    sequences = Sequences(Settings(max_queue=5000), lambda _: True)
    first = Request(sequences, told, "a", starts=True).line_up()
    refused = lambda request: request.refuse(QueueFull("model", 1))  # noqa: E731 - a name says what it does
    for _ in range(5000):
        Request(sequences, told, "b", on_turn=refused).line_up()
    first.answer()
    assert told.count("b: RESOURCE_EXHAUSTED") == 5000
    assert Request(sequences, told, "c").line_up().step.states(1) == (b"a",)


@pytest.mark.parametrize("is_over", [False, True])
def test_a_defect_of_one_holds_up_no_other(sequences, told, is_over):
    class Broken(Request):
        def take_turn(self):
            raise RuntimeError("defect")

        def refuse(self, _):
            raise RuntimeError("and another")

    first = Request(sequences, told, "a", starts=True, ends=is_over).line_up()
    Broken(sequences, told, "b").line_up()
    Request(sequences, told, "c", on_turn=Request.answer).line_up()
    first.answer()
    assert told == ["a", "c: NOT_FOUND" if is_over else "c"]


def test_where_no_memory_is_left_the_turn_is_passed_on(told):
    sequences = Sequences(Settings(max_sequence_bytes=4), lambda _: True)
    first = Request(sequences, told, "a", starts=True).line_up()
    Request(sequences, told, "b").line_up()
    with pytest.raises(TooManySequences):
        first.step.keep((b"too long",), 1)
    first.step.fail()
    assert told == ["a", "b: NOT_FOUND"]


def test_an_answer_after_a_refusal_counts_for_nothing(sequences, told):
    """After a failure in the middle of a batch, all of the batch may be refused, what is run meanwhile included."""
    Request(sequences, told, "a", starts=True).line_up().answer()
    twice = Request(sequences, told, "b").line_up()
    twice.refuse(DeadlinePassed("late"))
    running = Request(sequences, told, "c").line_up()
    twice.answer()
    twice.refuse(DeadlinePassed("late"))
    Request(sequences, told, "d").line_up()
    assert told[-1] == "b: DEADLINE_EXCEEDED"
    assert running.step.states(1) == (b"a",)


@pytest.mark.parametrize("end", ["answer", "refuse", "never"])
def test_a_request_refers_to_its_step_and_nothing_refers_back(sequences, told, end):
    """So that it is freed with the last that refers to it: also where it has waited, or never lined up."""
    gc.disable()
    try:
        first = Request(sequences, told, "a", starts=True).line_up()
        waits = Request(sequences, told, "b")
        if end != "never":
            waits.line_up()
        first.answer()
        if end == "answer":
            waits.answer()
        else:
            waits.refuse(DeadlinePassed("late"))
        gone = [weakref.ref(first), weakref.ref(waits)]
        del first, waits
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()


KINDS = ["start", "step", "end", "answer", "refuse", "pass", "busy"]
EVENTS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 5)), max_size=60)


@settings(max_examples=300)
@given(EVENTS)
def test_no_order_of_events_holds_a_sequence_up(events):
    """Starts, steps and ends, answered, refused while they wait or run, or refused as soon as they have their turn."""
    sequences, told = Sequences(Settings(max_queue=6), lambda _: True), []
    running: deque[Request] = deque()
    open_: list[Request] = []
    is_busy = False

    def on_turn(request):
        if is_busy:
            request.refuse(QueueFull("model", 1))
        else:
            running.append(request)

    def send(kind):
        try:
            request = Request(sequences, told, kind, starts=kind == "start", ends=kind == "end", on_turn=on_turn)
        except ServeError:
            return
        open_.append(request)
        try:
            request.line_up()
        except ServeError as error:
            request.refuse(error)

    for event, number in events:
        if event in ("start", "step", "end"):
            send(event)
        elif event == "busy":
            is_busy = not is_busy
        elif event == "pass" and open_:
            open_[number % len(open_)].step.fail()  # whatever it is doing
        elif running:
            request = running.popleft()
            if event == "answer":
                request.answer()
            else:
                request.refuse(DeadlinePassed("late"))
    is_busy = False
    while running:
        running.popleft().answer()
    store: SequenceStore = sequences._store
    assert not any(store.waiting.values())
    assert all(not kept.has_turn and not kept.waiting and not kept.is_passing for kept in store._kept.values())
    send("start")
    assert running.popleft().name == "start"


def test_threads_that_answer_at_the_same_time_lose_no_turn():
    sequences, told = Sequences(Settings(), lambda _: True), []
    first = Request(sequences, told, "a", starts=True).line_up()
    work, done = deque(), threading.Semaphore(0)

    def on_turn(request):
        work.append(request)
        ready.release()

    ready = threading.Semaphore(0)

    def answer():
        while True:
            ready.acquire()
            request = work.popleft()
            if request is None:
                return
            request.answer()
            done.release()

    threads = [threading.Thread(target=answer, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    names = [str(number) for number in range(2000)]
    for name in names[:1000]:
        Request(sequences, told, name, on_turn=on_turn).line_up()
    first.answer()
    for name in names[1000:]:
        Request(sequences, told, name, on_turn=on_turn).line_up()
    for _ in names:
        assert done.acquire(timeout=30)
    for _ in threads:
        work.append(None)
        ready.release()
    assert told == ["a", *names]
