"""Mutated requests to the fast path and to a server that reads each one whole."""

import pytest

from campaigns.fuzzing.differential import Tally, compare
from campaigns.fuzzing.served_models import CLASSIFIERS, publish_models
from campaigns.fuzzing.traffic import Traffic, valid_requests
from campaigns.fuzzing.whole_reading import serve_reading_whole
from kit.served import served

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
    tally = met([whole, fast_path], 8_000)
    assert not tally.differences, "\n".join(map(str, tally.differences))
    assert set(tally.statuses) <= {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED"}
