"""Sequences that move between workers: one at a time, to where they are asked for, or to none where it is not clear."""

import threading
import types

import pytest

from kit.waiting import PATIENCE, until
from rnnserve.server import Settings
from rnnserve.server.boundary.sequence_parameters import SequenceControl
from rnnserve.server.errors import NotFound, ServeError, TooManyCalls
from rnnserve.server.protocol.sequence_moves import MoveBounds
from rnnserve.server.protocol.sequences import Sequences

MODEL = "m"
KEY = "a secret of 16 or more"


class Peer:
    """What sends requests: a connection of a host."""

    grant = None

    def __init__(self, host, port):
        self.name = f"ipv4:{host}:{port}"

    def peer(self):
        return self.name

    def identity(self):
        return ""


class Waiting:
    """A request that waits for its turn."""

    def __init__(self):
        self.told = threading.Event()
        self.error = None

    def take_turn(self):
        self.told.set()

    def refuse(self, error):
        self.error = error
        self.told.set()


class Worker:
    """A worker's sequences, of one model.

    Attributes:
        others: The other workers.
        open: The connections that are open, of all workers.
    """

    def __init__(self, open_connections, most_asked=1024, wait_seconds=0.3, **settings):
        self.served = version("1")
        self.others = []
        self.sequences = Sequences(Settings(**settings), open_connections.__contains__)
        self.moves = self.sequences.move_between(self, self, MoveBounds(wait_seconds, most_asked))

    def ask_all(self, message):
        return [answer for other in self.others if (answer := other.moves.answer(message))]

    def ask_one(self, message):
        return next(iter(self.ask_all(message)), b"")

    def with_digest(self, name, digest):
        assert name == MODEL
        return self.served if digest == self.served.model.manifest.self_sha256 else None

    def take(self, caller, identity=7, *, starts=False, ends=False, key=""):
        """Enter a request; return its step when it has its turn."""
        step = self.sequences.enter(self.served, SequenceControl(identity, starts, ends, key), caller)
        waiting = Waiting()
        if not step.line_up(waiting):
            assert waiting.told.wait(PATIENCE)
            if waiting.error is not None:
                raise waiting.error
        return step

    def begin(self, caller, states=(b"first",), **more):
        self.take(caller, starts=True, **more).keep(states, 1)

    def states(self, caller, **more):
        step = self.take(caller, **more)
        found = step.states(1)
        step.fail()
        return found


def version(number):
    signature = types.SimpleNamespace(required_state="", states={}, bounded_states=())
    manifest = types.SimpleNamespace(self_sha256=f"digest of {number}")
    model = types.SimpleNamespace(
        name=MODEL, version=number, why_not_in_parts="", signature=signature, manifest=manifest
    )
    served = types.SimpleNamespace(model=model)
    served.of_sequences = served
    return served


@pytest.fixture
def open_connections():
    return set()


@pytest.fixture
def new_workers(open_connections):
    """Makes three workers, with arguments of `Worker`."""
    three = []

    def make(**more):
        three.extend(Worker(open_connections, **more) for _ in range(3))
        for worker in three:
            worker.others = [other for other in three if other is not worker]
        return three

    yield make
    for worker in three:
        worker.moves.close()


@pytest.fixture
def workers(new_workers):
    return new_workers()


OLD, NEW, ELSEWHERE = Peer("10.0.0.1", 1111), Peer("10.0.0.1", 2222), Peer("10.0.0.2", 1111)


def test_sequence_moves_with_its_rows_and_states_to_the_worker_that_is_asked(workers):
    one, two, _ = workers
    one.take(OLD, starts=True).keep((b"h" * 1000, b"", b"\n{}"), 3)
    step = two.take(NEW)
    assert (step.states(3), step.states(1)) == ((b"h" * 1000, b"", b"\n{}"), None)
    step.keep((b"second",), 1)
    assert one.states(OLD) == (b"second",)
    assert two.sequences._store.all() == []
    assert one.states(NEW) == (b"second",)  # on its own worker as from another


def test_sequence_moves_to_its_origin_or_with_its_key_only(workers, open_connections):
    one, two, _ = workers
    one.begin(OLD)
    with pytest.raises(NotFound):
        two.take(ELSEWHERE)
    assert two.states(NEW) == (b"first",)
    open_connections.add(OLD.name)
    one.begin(OLD, key=KEY, identity=8)
    with pytest.raises(NotFound):
        two.take(ELSEWHERE, key=KEY + "!", identity=8)
    assert two.states(ELSEWHERE, key=KEY, identity=8) == (b"first",)  # while its own connection is open


def test_sequence_of_an_open_connection_is_waited_for_and_then_left(workers, open_connections):
    one, two, _ = workers
    open_connections.add(OLD.name)
    one.begin(OLD)
    with pytest.raises(NotFound):
        two.take(NEW)


def test_sequence_moves_when_its_connection_is_closed_meanwhile(new_workers, open_connections):
    one, two, _ = new_workers(wait_seconds=PATIENCE)
    open_connections.add(OLD.name)
    one.begin(OLD)
    timer = threading.Timer(0.1, open_connections.clear)
    timer.start()
    assert two.states(NEW) == (b"first",)


def test_sequence_moves_after_its_request_in_flight(new_workers):
    one, two, _ = new_workers(wait_seconds=PATIENCE)
    one.begin(OLD)
    running = one.take(OLD)
    timer = threading.Timer(0.1, running.keep, [(b"second",), 1])
    timer.start()
    assert two.states(NEW) == (b"second",)


def test_neither_of_two_sequences_that_fit_moves(workers):
    one, two, _ = workers
    one.begin(Peer("10.0.0.1", 1)), two.begin(Peer("10.0.0.1", 2))
    for worker in workers:
        with pytest.raises(
            NotFound, match=r"cannot be continued: several sequences .* a sequence_key tells them apart"
        ):
            worker.take(NEW)
    assert (one.states(Peer("10.0.0.1", 1)), two.states(Peer("10.0.0.1", 2))) == ((b"first",), (b"first",))


def test_sequence_of_another_version_stays_and_its_client_is_told(workers):
    one, two, _ = workers
    one.begin(OLD)
    two.served = version("2")
    with pytest.raises(NotFound, match="cannot be continued: it began on another version of the model"):
        two.take(NEW)
    assert one.states(OLD) == (b"first",)


def test_requests_that_wait_for_a_sequence_run_in_their_order(workers, open_connections):
    one, two, _ = workers
    open_connections.add(OLD.name)
    one.begin(OLD)
    order = []

    class Noting(Waiting):
        def __init__(self, number):
            super().__init__()
            self.number = number

        def take_turn(self):
            order.append(self.number)
            steps[self.number].keep((b"%d" % self.number,), 1)
            super().take_turn()

    control = SequenceControl(7, False, False)
    steps = [two.sequences.enter(two.served, control, NEW) for _ in range(20)]
    waiting = [Noting(number) for number in range(20)]
    assert not any(step.line_up(each) for step, each in zip(steps, waiting, strict=True))
    open_connections.clear()
    assert all(each.told.wait(20) for each in waiting)
    assert order == list(range(20))
    assert two.states(NEW) == (b"19",)


def test_requests_that_wait_for_a_missing_sequence_are_refused(workers):
    steps = [workers[0].sequences.enter(workers[0].served, SequenceControl(7, False, False), NEW) for _ in range(5)]
    refused = 0
    for step in steps:
        waiting = Waiting()
        try:
            if not step.line_up(waiting):
                assert waiting.told.wait(PATIENCE)
                raise waiting.error
        except NotFound:
            refused += 1
    assert refused == 5
    until(lambda: workers[0].sequences._store.all() == [])


def test_sequence_that_is_begun_meanwhile_is_not_replaced(workers, open_connections):
    one, two, _ = workers
    open_connections.add(OLD.name)
    one.begin(OLD)
    late = two.sequences.enter(two.served, SequenceControl(7, False, False), NEW)
    waiting = Waiting()
    assert not late.line_up(waiting)
    two.begin(NEW, states=(b"anew",))
    open_connections.clear()
    assert waiting.told.wait(PATIENCE)
    assert isinstance(waiting.error, ServeError)
    assert two.states(NEW) == (b"anew",)


def test_worker_that_leaves_gives_all_its_sequences(workers):
    one, two, three = workers
    for number in range(2500):
        one.begin(Peer("10.0.0.1", 1 + number), states=(b"%d" % number,), identity=1 + number)
    one.begin(ELSEWHERE, key=KEY, states=(b"with a key",))
    three.moves._is_leaving = True  # and takes nothing
    one.moves.give_all()
    assert (len(two.sequences._store.all()), one.sequences._store.all()) == (2501, [])
    for number in (0, 1234, 2499):
        assert three.states(NEW, identity=1 + number) == (b"%d" % number,)
    assert three.states(OLD, key=KEY) == (b"with a key",)


@pytest.mark.parametrize("taker", [1, 2])
def test_sequence_that_is_given_away_while_workers_are_polled_is_found(workers, monkeypatch, taker):
    """The one that took it had been asked before, the one that gave it was asked after: nobody had it."""
    one, two, three = workers
    one.begin(OLD)
    one.others = [workers[taker]]

    def ask_all(message):
        answers = [three.moves.answer(message)]
        one.moves.give_all()
        return [answer for answer in (*answers, one.moves.answer(message)) if answer]

    monkeypatch.setattr(two, "ask_all", ask_all)
    assert two.states(NEW) == (b"first",)


def test_connection_from_the_same_port_has_no_part_in_what_was_given(workers, open_connections):
    one, two, _ = workers
    one.begin(OLD)
    one.moves.give_all()
    open_connections.add(OLD.name)
    two.begin(OLD, states=(b"another",))
    assert two.states(OLD) == (b"another",)


def test_sequence_is_lost_without_room_and_its_client_is_told(workers, open_connections):
    one, _, _ = workers
    small = Worker(open_connections, max_sequence_bytes=8)
    small.others = [one]
    one.begin(OLD)
    with pytest.raises(NotFound, match=r"cannot be continued: .*--max-sequence-bytes"):
        small.take(NEW)
    small.moves.close()


def test_number_of_sequences_asked_for_is_bounded(new_workers, open_connections):
    one, two, _ = new_workers(most_asked=3)
    for number in range(3):
        open_connections.add(f"ipv4:10.0.0.1:{number}")
        one.begin(Peer("10.0.0.1", number), identity=1 + number)
        two.sequences.enter(two.served, SequenceControl(1 + number, False, False), NEW)
    with pytest.raises(TooManyCalls):
        two.take(NEW, identity=100)
    open_connections.clear()
    assert two.states(NEW, identity=2) == (b"first",)


def test_failing_worker_is_not_waited_for(workers, monkeypatch, caplog):
    def fail(message):
        raise ArithmeticError

    monkeypatch.setattr(workers[0], "ask_all", fail)
    with pytest.raises(NotFound):
        workers[0].take(NEW)
    assert "cannot be had" in caplog.text
