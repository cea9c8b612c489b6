"""Which sequences there are, who reaches them, and how long: with a clock that the tests set."""

import pytest

from kit.kept_sequences import FakeCaller, fake_served
from rnnserve.server.boundary.sequence_parameters import SequenceControl
from rnnserve.server.errors import NotFound, SequenceInUse, TooManySequences, Unsupported
from rnnserve.server.protocol import sequence_store
from rnnserve.server.protocol import sequences as sequences_module
from rnnserve.server.protocol.sequence_callers import StreamOwner
from rnnserve.server.protocol.sequences import BeganOnAnotherVersion, Sequences
from rnnserve.server.settings import Settings

SERVED = fake_served()
OWNER, STRANGER = FakeCaller("ipv4:10.0.0.1:50000"), FakeCaller("ipv4:10.0.0.1:50001")
ELSEWHERE = FakeCaller("ipv4:10.0.0.2:50000")
KEY = "k" * 16


class World:
    """Sequences, a clock, and the connections that are open."""

    def __init__(self, monkeypatch, **options):
        self.now = 1000.0
        self.closed = set()
        for module in (sequence_store, sequences_module):
            monkeypatch.setattr(module, "now", lambda: self.now)
        monkeypatch.setattr(sequence_store.SequenceStore, "_watch", lambda _: None)  # drops happen when asked for
        self.sequences = Sequences(Settings(**options), lambda peer: peer not in self.closed)

    def ask(self, caller, *, identity=7, starts=False, ends=False, key="", states=b"", served=SERVED, owner=None):
        """Have a request of a sequence answered; give the states that it continued from."""
        step = self.sequences.enter(served, SequenceControl(identity, starts, ends, key), caller, owner)
        assert step.line_up(None)
        before = step.states(1)
        step.keep((states,), 1)
        return before

    def close(self, caller):
        self.closed.add(caller.peer())


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


@pytest.fixture
def shared(monkeypatch):
    return World(monkeypatch, share_sequences=True)


def words(world, caller, **kwargs):
    with pytest.raises(NotFound) as raised:
        world.ask(caller, **kwargs)
    return str(raised.value)


@pytest.mark.parametrize("stranger", [STRANGER, ELSEWHERE])
def test_a_stranger_neither_continues_nor_ends_nor_replaces_a_sequence(world, stranger):
    world.ask(OWNER, starts=True, states=b"mine")
    never_begun = words(world, stranger, identity=8).replace("8", "7")
    assert words(world, stranger) == words(world, stranger, ends=True) == never_begun  # nor learns that there is one
    assert world.sequences.find("model", SequenceControl(7, False, False), stranger) is None
    assert world.ask(stranger, starts=True, states=b"theirs") == ()
    assert world.ask(OWNER, states=b"mine again") == (b"mine",)
    assert world.ask(stranger, ends=True) == (b"theirs",)
    assert world.ask(OWNER) == (b"mine again",)


def test_a_strangers_stream_holds_up_no_sequence_of_another(world):
    world.ask(OWNER, starts=True)
    world.ask(STRANGER, starts=True, owner=StreamOwner())
    assert world.ask(OWNER, states=b"on") == (b"",)


def test_a_key_leads_to_a_sequence_from_any_connection(world):
    world.ask(OWNER, starts=True, key=KEY, states=b"a")
    assert world.ask(ELSEWHERE, key=KEY, states=b"b") == (b"a",)
    assert world.ask(OWNER, key=KEY, ends=True) == (b"b",)
    world.ask(OWNER, starts=True, key=KEY)
    words(world, OWNER)
    words(world, OWNER, key=KEY + "x")
    world.close(OWNER)
    words(world, STRANGER)  # a closed connection's are taken over, but not those that go with a key


def test_no_key_is_taken_for_a_connection(world):
    world.ask(OWNER, starts=True)
    words(world, STRANGER, key=OWNER.peer())


def test_a_client_that_connects_anew_goes_on(world):
    world.ask(OWNER, starts=True, states=b"a")
    world.close(OWNER)
    words(world, ELSEWHERE)
    assert world.sequences.find("model", SequenceControl(7, False, False), STRANGER) is SERVED
    assert world.ask(STRANGER, states=b"b") == (b"a",)
    third = FakeCaller("ipv4:10.0.0.1:50002")
    words(world, third)  # it belongs to the new connection, which is open
    world.close(STRANGER)
    assert world.ask(third) == (b"b",)


def test_whose_sequence_it_is_is_not_guessed(world):
    """Of two clients of one host that took the same id, and have both gone."""
    for caller in (OWNER, STRANGER):
        world.ask(caller, starts=True)
        world.close(caller)
    third = FakeCaller("ipv4:10.0.0.1:50002")
    words(world, third)
    assert world.ask(third, starts=True) == ()


def test_with_certificates_the_same_names_go_on_and_others_do_not(world):
    alice = [FakeCaller(f"ipv4:10.0.0.{host}:50000", "alice") for host in (1, 2)]
    world.ask(alice[0], starts=True, states=b"a")
    world.close(alice[0])
    words(world, FakeCaller("ipv4:10.0.0.1:50001", "bob"))
    words(world, FakeCaller("ipv4:10.0.0.1:50001"))
    assert world.ask(alice[1]) == (b"a",)


def test_among_very_many_of_one_id_and_origin_none_is_looked_for(world, monkeypatch):
    """Each look is at a socket: somebody who begins many does not make others wait."""
    many = [FakeCaller(f"ipv4:10.0.0.1:{port}") for port in range(1000, 1065)]
    for caller in many:
        world.ask(caller, starts=True)
    world.close(many[0])
    monkeypatch.setattr(world.sequences, "_is_open", lambda _: pytest.fail("looked"))
    words(world, OWNER)
    for caller in many:
        world.ask(caller, ends=True)
    words(world, OWNER)


def test_shared_ids_are_anyones_as_in_triton(shared):
    shared.ask(OWNER, starts=True, states=b"a")
    assert shared.ask(ELSEWHERE, states=b"b") == (b"a",)
    assert shared.ask(STRANGER, starts=True, states=b"c") == ()
    assert shared.ask(OWNER, ends=True) == (b"c",)
    assert "sequence_key" not in words(shared, OWNER)


def test_a_sequence_is_on_one_stream_at_a_time(world):
    first, second = StreamOwner(), StreamOwner()
    world.ask(OWNER, starts=True, owner=first)
    for kind in ({}, {"starts": True}, {"owner": second}):
        with pytest.raises(SequenceInUse, match="in use on another stream"):
            world.ask(OWNER, **kind)
    first.is_open = False
    assert world.ask(OWNER, owner=second) == (b"",)


def test_idle_ones_are_dropped_and_their_clients_told(monkeypatch):
    world = World(monkeypatch, sequence_idle=60.0)
    world.ask(OWNER, starts=True)
    world.now += 60
    world.ask(OWNER)
    world.now += 60.1
    assert "was dropped after 60 s without a request" in words(world, OWNER)
    assert "is not known" in words(world, STRANGER)
    world.ask(OWNER, starts=True)
    world.ask(OWNER, ends=True)
    assert "is not known" in words(world, OWNER)


def test_one_whose_connection_is_closed_is_dropped_when_idle_and_not_taken_over(monkeypatch):
    world = World(monkeypatch, sequence_idle=60.0)
    world.ask(OWNER, starts=True)
    world.close(OWNER)
    world.now += 61
    words(world, STRANGER)


def test_one_that_waits_to_be_run_is_not_idle(monkeypatch):
    world = World(monkeypatch, sequence_idle=60.0)
    step = world.sequences.enter(SERVED, SequenceControl(7, True, False), OWNER)
    step.line_up(None)
    world.now += 100
    world.ask(STRANGER, starts=True)
    step.keep((b"late",), 1)
    assert world.ask(OWNER) == (b"late",)


def test_their_number_is_bounded_and_half_of_it_for_one_connection(monkeypatch):
    world = World(monkeypatch, max_sequences=4)
    for identity in (1, 2):
        world.ask(OWNER, identity=identity, starts=True)
    with pytest.raises(TooManySequences, match="half of --max-sequences"):
        world.ask(OWNER, identity=3, starts=True)
    world.ask(OWNER, identity=2, starts=True)  # in its own place
    for identity in (1, 2):
        world.ask(STRANGER, identity=identity, starts=True)
    with pytest.raises(TooManySequences, match="4 sequences are kept already"):
        world.ask(ELSEWHERE, starts=True)
    world.ask(OWNER, identity=1, ends=True)
    world.ask(ELSEWHERE, starts=True)


def test_their_bytes_are_bounded_and_half_of_them_for_one_connection(monkeypatch):
    world = World(monkeypatch, max_sequence_bytes=20)
    world.ask(OWNER, identity=1, starts=True, states=b"x" * 10)
    with pytest.raises(TooManySequences, match="--max-sequence-bytes"):
        world.ask(OWNER, identity=2, starts=True, states=b"x")
    world.ask(OWNER, identity=1, states=b"x")  # fewer: what was taken stays taken
    world.ask(OWNER, identity=1, ends=True)
    world.ask(OWNER, identity=3, starts=True, states=b"x" * 10)


def test_nothing_is_kept_of_those_that_are_gone(world):
    for caller in (OWNER, STRANGER):
        world.ask(caller, starts=True, states=b"x")
        world.ask(caller, key=KEY, starts=True, states=b"x")
    world.close(OWNER)
    for caller in (FakeCaller("ipv4:10.0.0.1:50002"), STRANGER):
        world.ask(caller, ends=True)
    world.ask(OWNER, key=KEY, ends=True)
    store = world.sequences._store
    assert (len(store._kept), len(store._by_origin), len(store._shares), store._nbytes) == (0, 0, 0, 0)


def test_a_sequence_stays_with_its_version(world):
    world.ask(OWNER, starts=True)
    assert world.sequences.find("model", SequenceControl(7, False, False), OWNER) is SERVED
    assert world.sequences.find("model", SequenceControl(7, True, False), OWNER) is None
    with pytest.raises(BeganOnAnotherVersion, match="began on version 1; this request asks for version 2"):
        world.ask(OWNER, served=fake_served(version="2"))
    world.ask(OWNER)


def test_a_model_whose_sequences_cannot_be_cut_has_none(world):
    with pytest.raises(Unsupported, match="takes no sequences a part at a time: it looks ahead"):
        world.ask(OWNER, starts=True, served=fake_served(why_not_in_parts="it looks ahead"))
