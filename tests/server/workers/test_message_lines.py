"""Messages of the supervisor and its workers are lines, and back; a line that is none of them is refused."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnserve.server.repository.pins import ModelPins, Pin, Pins, dump_pins
from rnnserve.server.workers import messages
from rnnserve.server.workers.message_lines import MessageError, MessageReader, decode, encode
from rnnserve.server.workers.messages import (
    Cannot,
    Count,
    Counted,
    Counts,
    Failed,
    Loaded,
    Message,
    Prepare,
    Proposal,
    Propose,
    Ready,
    Sum,
    SupervisorMessage,
    WorkerMessage,
)

KINDS = [*WorkerMessage.__subclasses__(), *SupervisorMessage.__subclasses__()]

texts = st.text(max_size=4)
lines = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=9)
numbers = st.integers(0)
pins = st.dictionaries(
    texts,
    st.builds(ModelPins, st.dictionaries(numbers, st.builds(Pin, texts, texts), max_size=2), texts, st.booleans()),
    max_size=2,
)
json_values = st.none() | st.booleans() | st.integers() | texts | st.lists(texts, max_size=2)
found = st.tuples(texts, numbers, st.dictionaries(texts, json_values, max_size=2))
proposals = st.builds(
    Proposal,
    st.lists(texts, min_size=1, max_size=3).map(tuple),
    pins,
    st.lists(found, max_size=2).map(tuple),
)
FIELDS: dict[object, st.SearchStrategy] = {
    int: numbers,
    str: lines,
    bytes: st.binary(max_size=9),
    tuple[bytes, ...]: st.lists(st.binary(max_size=9), max_size=3).map(tuple),
    Pins: pins,
    Proposal: proposals,
}


def side(kind: type[Message]) -> type[Message]:
    return WorkerMessage if issubclass(kind, WorkerMessage) else SupervisorMessage


@st.composite
def any_message(draw, kinds=KINDS):
    kind = draw(st.sampled_from(kinds))
    return kind(*(draw(FIELDS[field.type]) for field in dataclasses.fields(kind)))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_message_is_one_line_and_back(kind):
    @given(any_message([kind]))
    def check(message):
        line = encode(message)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert line.startswith(kind.__name__.lower().encode())
        assert decode(line[:-1], side(kind)) == message

    check()


def test_the_lines_stay_as_they_are():
    """A supervisor of one release starts workers of the next."""
    some = {"a": ModelPins({2: Pin("d")})}
    text = '{"a": {"is_needed": true, "reason": "", "versions": {"2": {"digest": "d", "reason": ""}}}}'
    proposal = Proposal(("a", "b"), some, (("a", 2, {"is_cut": True}),))
    assert dump_pins(some) == text
    written = {
        Ready(): b"ready\n",
        Sum(7): b"sum 7\n",
        Count(1): b"count 1\n",
        Cannot("a version 2: is missing"): b"cannot a version 2: is missing\n",
        Failed(""): b"failed \n",
        Counted(3, b"foo"): b"counted 3 Zm9v\n",
        Counts(3, ()): b"counts 3\n",
        Counts(3, (b"foo", b"bar")): b"counts 3 Zm9v YmFy\n",
    }
    assert {message: encode(message) for message in written} == written
    assert encode(Loaded(some)) == f"loaded {text}\n".encode()
    for kind, word in ((Propose, "propose"), (Prepare, "prepare"), (messages.Mend, "mend")):
        start, _, rest = encode(kind(proposal)).partition(b" ")
        assert start == word.encode()
        assert json.loads(rest) == {"names": ["a", "b"], "pins": text, "found": [["a", 2, {"is_cut": True}]]}


def test_what_another_release_adds_to_a_proposal_is_not_read():
    line = b'propose {"names": ["a"], "pins": "{}", "found": [], "more": 1}'
    assert decode(line, WorkerMessage) == Propose(Proposal(("a",), {}))


@given(any_message(), any_message())
def test_messages_differ_where_their_lines_do(one, other):
    assert (encode(one) == encode(other)) == (one == other)


@given(any_message())
def test_a_message_of_the_other_side_is_refused(message):
    (other,) = {WorkerMessage, SupervisorMessage} - {side(type(message))}
    with pytest.raises(MessageError, match=r"is no message of (a worker|the supervisor): its first word is none of "):
        decode(encode(message)[:-1], other)


MODEL = {"versions": {"2": {"digest": "d", "reason": ""}}, "reason": "", "is_needed": True}


def without(key, **more):
    return {name: value for name, value in MODEL.items() if name != key} | more


NO_PINS = [
    "",
    "{",
    "pins",
    "[]",
    "null",
    '{"a": 1}',
    *[json.dumps({"a": without(key)}) for key in MODEL],
    *[json.dumps({"a": without(key, **{key: 1})}) for key in MODEL],
    *[
        json.dumps({"a": MODEL | {"versions": versions}})
        for versions in (
            {"two": {"digest": "d", "reason": ""}},
            {"2": "d"},
            {"2": {"digest": "d"}},
            {"2": {"reason": ""}},
            {"2": {"digest": 2, "reason": ""}},
            {"2": {"digest": "d", "reason": None}},
        )
    ],
    "[" * 100_000,
]
PROPOSAL = {"names": ["a"], "pins": "{}", "found": []}
NO_PROPOSALS = [
    "",
    "{",
    "[]",
    *[json.dumps({name: value for name, value in PROPOSAL.items() if name != key}) for key in PROPOSAL],
    *[json.dumps(PROPOSAL | {key: 1}) for key in PROPOSAL],
    *[json.dumps(PROPOSAL | {"names": names}) for names in ([], [1], ["a", 1])],
    *[json.dumps(PROPOSAL | {"pins": text}) for text in NO_PINS[:6]],
    *[
        json.dumps(PROPOSAL | {"found": [found]})
        for found in (1, [], ["a", 2], [1, 2, {}], ["a", "2", {}], ["a", True, {}], ["a", 2, []], ["a", 2, {}, 1])
    ],
]
NO_NUMBERS = ["", " ", "x", "-1", "+1", "01", "1_0", "1.0", "٣", "9" * 5000]
NO_BASE64 = ["*", "Zm9", "Zm9v=", "Zh==", "Zm 9v", "é"]
FIELDLESS = [kind for kind in KINDS if not dataclasses.fields(kind)]


@pytest.mark.parametrize(
    ("kind", "rests"),
    [
        (WorkerMessage, [""]),
        *[(kind, [" ", " now", " {}"]) for kind in FIELDLESS],
        (Loaded, ["", *[f" {text}" for text in NO_PINS]]),
        *[(kind, ["", *[f" {text}" for text in NO_PROPOSALS]]) for kind in (Propose, Prepare, messages.Mend)],
        *[(kind, [""]) for kind in (Cannot, Failed)],
        *[(kind, ["", *[f" {text}" for text in NO_NUMBERS], " 1 2"]) for kind in (Sum, Count)],
        (Counted, ["", " 1", *[f" {text} Zm9v" for text in NO_NUMBERS], *[f" 1 {text}" for text in NO_BASE64]]),
        (Counted, [" 1 Zm9v Zm9v"]),
        (Counts, ["", *[f" {text}" for text in NO_NUMBERS], *[f" 1 Zm9v {text}" for text in NO_BASE64]]),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_every_malformed_line_is_refused(kind, rests):
    word = kind.__name__.lower() if kind in KINDS else ""
    for rest in rests:
        line = f"{word}{rest}".encode()
        with pytest.raises(MessageError) as refused:
            decode(line, side(kind))
        assert str(refused.value).startswith(f'"{word}')
        assert len(str(refused.value)) < 500


@pytest.mark.parametrize("line", ["Ready", "READY", " ready", "ready ", "readyy", "worker", "workermessage", "loade"])
def test_a_word_is_exact(line):
    with pytest.raises(MessageError, match="is no message of a worker: "):
        decode(line.encode(), WorkerMessage)


def test_the_error_says_what_came_and_what_may_come():
    with pytest.raises(MessageError) as refused:
        decode(b"raedy", WorkerMessage)
    assert str(refused.value) == (
        '"raedy" (5 bytes) is no message of a worker: its first word is none of adopted, beat, cannot, counted, '
        "loaded, prepared, propose, ready, release, sum, want"
    )
    with pytest.raises(
        MessageError, match=r'^"counted 1" \(9 bytes\) is no message of a worker: its counts is missing$'
    ):
        decode(b"counted 1", WorkerMessage)


@given(st.binary())
def test_any_bytes_are_a_message_or_refused_and_what_is_read_is_written_the_same(data):
    for either in (WorkerMessage, SupervisorMessage):
        try:
            message = decode(data, either)
        except MessageError:
            continue
        assert decode(encode(message)[:-1], either) == message


def test_a_text_of_two_lines_is_no_message():
    with pytest.raises(ValueError, match="has an end of line within a message"):
        encode(Cannot("one\ntwo"))


@given(st.lists(any_message(WorkerMessage.__subclasses__()), max_size=5), st.data())
def test_a_reader_gives_the_messages_however_the_bytes_arrive(sent, data):
    reader, got = MessageReader(WorkerMessage, "worker 0"), []
    rest = b"".join(map(encode, sent))
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        got += reader.read(rest[:size])
        rest = rest[size:]
    assert got == sent


def test_a_reader_leaves_out_what_is_malformed_and_tells_of_it(caplog):
    reader = MessageReader(WorkerMessage, "worker 3")
    assert list(reader.read(b"ready\nlisten\n\xff\nsum 1\nsu")) == [Ready(), Sum(1)]
    assert [message.split(" is no message")[0] for message in caplog.messages] == [
        'worker 3 writes what is left out: "listen" (6 bytes)',
        'worker 3 writes what is left out: "\\xff" (1 bytes)',
    ]
    assert list(reader.read(b"m 2\n")) == [Sum(2)]
