"""Mutated requests, many in flight, to all transports: the same bytes, the same status, the same message.

Both recognize requests by their templates, so a server that reads each one whole is asked, too. `make fuzz`
sends a million.
"""

import itertools

import pytest

from campaigns.fuzzing.differential import Tally, compare
from campaigns.fuzzing.served_models import CLASSIFIERS, publish_models, serve_reading_whole
from campaigns.fuzzing.traffic import Traffic, valid_requests, valid_steps
from kit.served import served

SEED = 11


@pytest.fixture(scope="module")
def published(kept_artifacts, tmp_path_factory):
    return kept_artifacts.copy("fuzzed", publish_models, tmp_path_factory.mktemp("fuzzed") / "repository")


@pytest.fixture(scope="module")
def whole(published):
    with serve_reading_whole(published) as server:
        yield server


@pytest.fixture(scope="module")
def addresses(published, whole):
    with (
        served(published) as fast,
        served(published, plain=True) as plain,
        served(published, transport="native") as rust,
    ):
        servers = [fast, plain, rust]
        kinds = {type(each.server._transport._transport).__name__ for each in servers}
        assert kinds == {"FastPath", "PlainTransport", "NativeTransport"}
        yield [whole.address, *[each.address for each in servers]]


def met(tallies, most_requests: int) -> Tally:
    """Return the tally after at least this many requests."""
    return next(itertools.dropwhile(lambda tally: tally.statuses.total() < most_requests, tallies))


@pytest.mark.parametrize("on_streams", [False, True], ids=["calls", "streams"])
def test_transports_answer_mutated_requests_alike(addresses, on_streams):
    seeds = valid_requests(CLASSIFIERS, SEED) + 3 * valid_steps(CLASSIFIERS, SEED) * on_streams
    tally = met(compare(addresses, Traffic(seeds, SEED).bursts(), on_streams=on_streams), 2000)
    assert not tally.differences, "\n".join(map(str, tally.differences))
    common = {status: count / tally.statuses.total() for status, count in tally.statuses.items()}
    assert common["OK"] > 0.1  # mutants that pass go the fast way
    assert common["INVALID_ARGUMENT"] > 0.1
    assert common["NOT_FOUND"] > 0.005
