"""Mutated requests to the fast path and to a server that reads each one whole; and defects that are planted."""

import dataclasses

import pytest

from campaigns.fuzzing.differential import Tally, compare
from campaigns.fuzzing.served_models import CLASSIFIERS, publish_models
from campaigns.fuzzing.traffic import Traffic, valid_requests
from campaigns.fuzzing.whole_reading import serve_reading_whole
from kit.served import served
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.fast_path import calls, streams, template_runs, templates
from rnnserve.server.transport import plain_transport

SEED = 12


@pytest.fixture(scope="module")
def published(kept_artifacts, tmp_path_factory):
    return kept_artifacts.copy("fuzzed", publish_models, tmp_path_factory.mktemp("fuzzed") / "repository")


@pytest.fixture(scope="module")
def whole(published):
    with serve_reading_whole(published) as server:
        yield server


@pytest.fixture
def fast_path(published):
    """A server without any prefix in its cache."""
    with served(published) as server:
        yield server


def met(servers, most_requests: int, *, most: int = 5) -> Tally:
    """What is met in so many requests, or until so many differences are."""
    tally, seeds = Tally(), valid_requests(CLASSIFIERS, SEED)
    for tally in compare([server.address for server in servers], Traffic(seeds, SEED).bursts(), most=most):
        if tally.statuses.total() >= most_requests:
            break
    return tally


def test_fast_path_answers_mutated_requests_as_if_it_read_each_one_whole(whole, fast_path):
    tally = met([whole, fast_path], 20_000)
    assert not tally.differences, "\n".join(map(str, tally.differences))
    assert set(tally.statuses) <= {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED"}


def plant_id_set_again(monkeypatch):
    """The defect that this fuzzer found first: an id that is set again, and empty, after the one that was cut out."""
    monkeypatch.setattr(templates, "_LONG_ID_FIELD", b"")
    monkeypatch.setattr(templates, "_LONG_ID", "")


def plant_prefix_of_any_start(monkeypatch):
    """A start that is no message of its own passes: data inside of an unknown field, an id in the middle."""
    monkeypatch.setattr(templates, "_parse_prefix", lambda *_, **__: pb.ModelInferRequest())


def plant_tags_not_compared(monkeypatch):
    """The tags and sizes of the second and later tensors' data are not looked at."""
    monkeypatch.setattr(templates, "_has_later_tags", lambda *_: True)


def plant_values_not_checked(monkeypatch):
    """Values of recognised requests are taken as they come."""
    monkeypatch.setattr(templates, "validator", lambda *_, **__: lambda _: True)


def plant_id_of_any_bytes(monkeypatch):
    """An id that is no UTF-8 is cut out, too, and repeated."""

    class Any(bytes):
        def __getitem__(self, key):
            found = super().__getitem__(key)
            return Any(found) if isinstance(key, slice) else found

        def isascii(self):
            return True

    find = templates.find_varying_fields
    monkeypatch.setattr(templates, "find_varying_fields", lambda payload: find(Any(payload)))
    for module in (calls, streams, plain_transport):  # what is logged of a request is no part of the answer
        monkeypatch.setattr(module, "read_id", lambda _: "")


def plant_lengths_off_by_one(monkeypatch):
    """A length may be one more than the axis."""
    fill, read = template_runs.SamePrefixRun._fill, templates.RequestPrefix.read

    def fill_one_more(self, *given):
        prefix = self._prefix
        self._prefix = longer(prefix)
        try:
            return fill(self, *given)
        finally:
            self._prefix = prefix

    monkeypatch.setattr(template_runs.SamePrefixRun, "_fill", fill_one_more)
    monkeypatch.setattr(templates.RequestPrefix, "read", lambda self, *given: read(longer(self), *given))


def longer(prefix):
    return dataclasses.replace(prefix, sizes={axis: size + 1 for axis, size in prefix.sizes.items()})


def plant_outputs_of_the_last_prefix(monkeypatch):
    """What requests ask for is not part of the prefix that is compared: the last one's is answered."""
    monkeypatch.setattr(
        templates.PrefixCache, "recognise", lambda self, payload: _similar(self, payload) or _recognise(self, payload)
    )


_recognise = templates.PrefixCache.recognise


def _similar(cache, payload):
    last = cache._last
    alike = last is not None and len(payload) == last.size and payload[:20] == last.key[:20]
    return templates.Recognised(last, b"", None) if alike else None


@pytest.mark.parametrize(
    "plant",
    [
        plant_id_set_again, plant_prefix_of_any_start, plant_tags_not_compared, plant_values_not_checked,
        plant_id_of_any_bytes, plant_lengths_off_by_one, plant_outputs_of_the_last_prefix,
    ],
)  # fmt: skip
def test_planted_defect_is_found(plant, monkeypatch, whole, fast_path):
    """Among some thousand requests. Most defects are found among the first 1,000."""
    plant(monkeypatch)
    assert met([whole, fast_path], 12_000, most=1).differences
