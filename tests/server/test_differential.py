"""Mutated requests, many in flight, to both transports: the same bytes, the same status, the same message.

Both recognise requests by their prefixes, so a server that reads each one whole is asked, too. `make fuzz` sends a
million. A trial of the fuzzer itself is below: it finds defects that are planted in what recognises them.
"""

import dataclasses
from collections.abc import Iterator

import pytest

from campaigns.fuzzing.differential import Tally, compare, compare_streams
from campaigns.fuzzing.served_models import CLASSIFIERS, publish_models
from campaigns.fuzzing.traffic import Traffic, valid_requests, valid_steps
from campaigns.fuzzing.whole_reading import serve_reading_whole
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server import Settings
from rnnserve.server.lane import prefixes, same_prefix, varying_fields
from rnnserve.server.testing import RunningServer, serve

SEED, REQUESTS, STEPS = 11, 20_000, 6_000

ENOUGH = 12_000
"""Requests among which a planted defect must be found, in some seconds; most are found among the first 1,000."""


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzzed")
    publish_models(root)
    return root


@pytest.fixture(scope="module")
def whole(published) -> Iterator[RunningServer]:
    with serve_reading_whole(published) as server:
        yield server


@pytest.fixture
def lane(published) -> Iterator[RunningServer]:
    """A server without any prefix in its cache."""
    with serve(published, Settings(provider="cpu", transport="lane")) as server:
        yield server


@pytest.fixture
def public(published) -> Iterator[RunningServer]:
    """Likewise."""
    with serve(published, Settings(provider="cpu", transport="public")) as server:
        yield server


def met(targets: list[RunningServer], most_requests: int, *, most: int = 5) -> Tally:
    """What is met in this many requests."""
    seeds = valid_requests(CLASSIFIERS, SEED)
    tally = Tally()
    for tally in compare([server.address for server in targets], Traffic(seeds, SEED).bursts(), most=most):
        if tally.statuses.total() >= most_requests:
            break
    return tally


def test_both_transports_answer_mutated_requests_on_streams_alike(whole, lane, public):
    seeds = valid_requests(CLASSIFIERS, SEED) + 3 * valid_steps(CLASSIFIERS, SEED)
    tally = Tally()
    for tally in compare_streams([whole.address, lane.address, public.address], Traffic(seeds, SEED).bursts()):
        if tally.statuses.total() >= STEPS:
            break
    assert not tally.differences, "\n".join(map(str, tally.differences))
    common = {status: count / tally.statuses.total() for status, count in tally.statuses.items()}
    assert common["OK"] > 0.1
    assert common["INVALID_ARGUMENT"] > 0.1
    assert common["NOT_FOUND"] > 0.05


def test_both_transports_answer_mutated_requests_alike(whole, lane, public):
    tally = met([whole, lane, public], REQUESTS)
    assert not tally.differences, "\n".join(map(str, tally.differences))
    common = {status: count / tally.statuses.total() for status, count in tally.statuses.items()}
    assert common["OK"] > 0.2  # mutants that pass go the fast way
    assert common["INVALID_ARGUMENT"] > 0.2
    assert common["NOT_FOUND"] > 0.01
    assert set(common) <= {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED"}


def plant_id_set_again(monkeypatch):
    """The defect that this fuzzer found first: an id that is set again, and empty, after the one that was cut out."""
    monkeypatch.setattr(prefixes, "_LONG_ID_FIELD", b"")
    monkeypatch.setattr(prefixes, "_LONG_ID", "")


def plant_prefix_of_any_start(monkeypatch):
    """A start that is no message of its own passes: data inside of an unknown field, an id in the middle."""
    monkeypatch.setattr(prefixes, "_parse_prefix", lambda *_, **__: pb.ModelInferRequest())


def plant_tags_not_compared(monkeypatch):
    """The tags and sizes of the second and later tensors' data are not looked at."""
    monkeypatch.setattr(prefixes, "_has_later_tags", lambda *_: True)


def plant_values_not_checked(monkeypatch):
    """Values of recognised requests are taken as they come."""
    monkeypatch.setattr(prefixes, "validator", lambda *_, **__: lambda _: True)


def plant_id_of_any_bytes(monkeypatch):
    """An id that is no UTF-8 is cut out, too, and repeated."""

    class Any(bytes):
        def __getitem__(self, key):
            found = super().__getitem__(key)
            return Any(found) if isinstance(key, slice) else found

        def isascii(self):
            return True

    find = varying_fields.find_varying_fields
    monkeypatch.setattr(prefixes, "find_varying_fields", lambda payload: find(Any(payload)))


def plant_lengths_off_by_one(monkeypatch):
    """A length may be one more than the axis."""
    fill, read = same_prefix.SamePrefixRun._fill, prefixes.RequestPrefix.read

    def fill_one_more(self, input, values):
        prefix = self._prefix
        self._prefix = longer(prefix)
        try:
            return fill(self, input, values)
        finally:
            self._prefix = prefix

    monkeypatch.setattr(same_prefix.SamePrefixRun, "_fill", fill_one_more)
    monkeypatch.setattr(prefixes.RequestPrefix, "read", lambda self, *given: read(longer(self), *given))


def longer(prefix):
    return dataclasses.replace(prefix, sizes={axis: size + 1 for axis, size in prefix.sizes.items()})


def plant_outputs_of_the_last_prefix(monkeypatch):
    """What requests ask for is not part of the prefix that is compared: the last one's is answered."""
    monkeypatch.setattr(
        prefixes.PrefixCache, "recognise", lambda self, payload: _similar(self, payload) or _recognise(self, payload)
    )


_recognise = prefixes.PrefixCache.recognise


def _similar(cache, payload):
    last = cache._last
    alike = last is not None and len(payload) == last.size and payload[:20] == last.key[:20]
    return (last, b"") if alike else None


@pytest.mark.parametrize(
    "plant",
    [
        plant_id_set_again, plant_prefix_of_any_start, plant_tags_not_compared, plant_values_not_checked,
        plant_id_of_any_bytes, plant_lengths_off_by_one, plant_outputs_of_the_last_prefix,
    ],
)  # fmt: skip
@pytest.mark.parametrize("transport", ["lane", "public"])
def test_it_finds_a_planted_defect(plant, transport, monkeypatch, whole, request):
    server = request.getfixturevalue(transport)
    plant(monkeypatch)
    assert met([whole, server], ENOUGH, most=1).differences
