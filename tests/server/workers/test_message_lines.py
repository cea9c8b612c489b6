"""Messages of the supervisor and its workers are lines, and back. A line that is none of them is refused."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnserve.server.repository.pins import ModelPins, Pin, Pins
from rnnserve.server.workers.message_lines import MessageError, MessageReader, decode, encode
from rnnserve.server.workers.messages import (
    Message,
    Proposal,
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


@settings(max_examples=100)
@given(any_message())
def test_every_message_is_one_line_and_back(message):
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert line.startswith(type(message).__name__.lower().encode())
    assert decode(line[:-1], side(type(message))) == message


NO_PINS = ["", "{", "[]", '{"a": 1}', '{"a": {"versions": {}, "reason": ""}}', "[" * 100_000]
NO_PROPOSALS = [
    *["", "{", "[]", '{"names": [], "pins": "{}", "found": []}', '{"names": ["a"], "pins": "[]", "found": []}'],
    *[
        f'{{"names": ["a"], "pins": "{{}}", "found": [{found}]}}'
        for found in ("1", '["a", "2", {}]', '["a", true, {}]')
    ],
]
NO_NUMBERS = ["", " ", "x", "-1", "+1", "01", "1_0", "1.0", "٣", "9" * 5000]
MALFORMED = [
    *["", "Ready", " ready", "ready ", "readyy", "worker", "loade", "ready now", "counted 1", "counted 1 Zm9v Zm9v"],
    *[f"loaded {text}" for text in NO_PINS],
    *[f"propose {text}" for text in NO_PROPOSALS],
    *[f"sum {text}" for text in (*NO_NUMBERS, "1 2")],
    *[f"counted 1 {text}" for text in ("*", "Zm9", "Zm9v=", "Zh==", "Zm 9v", "é")],
]


def test_malformed_line_is_refused_with_a_short_error():
    for line in MALFORMED:
        with pytest.raises(MessageError) as refused:
            decode(line.encode(), WorkerMessage)
        assert len(str(refused.value)) < 500, line


@given(st.binary())
def test_any_bytes_are_a_message_or_refused_and_what_is_read_is_written_the_same(data):
    for either in (WorkerMessage, SupervisorMessage):
        try:
            message = decode(data, either)
        except MessageError:
            continue
        assert decode(encode(message)[:-1], either) == message


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
