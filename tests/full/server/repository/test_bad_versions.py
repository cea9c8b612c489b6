"""Versions that crash, block or fill the process that tries them, or whose files are anything: each has its reason."""

import re

import pytest

from kit.bad_versions import BAD_FILES, BAD_GRAPHS, publish_good
from kit.loaded import load_repository
from rnnserve.server.repository.repository import READY, UNAVAILABLE, Status


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """The folder, and the status of each model in it."""
    root = tmp_path_factory.mktemp("planted")
    publish_good(root, "good")
    for name, (plant, _) in {**BAD_FILES, **BAD_GRAPHS}.items():
        plant(root, name)
    models = load_repository(root, timeout=2.0)  # seconds of computing: three take all of it
    return root, {name: versions[1] for name, versions in models.statuses()}


def test_good_version_serves_beside_a_bad_one(planted):
    assert planted[1]["good"] == Status(READY)


@pytest.mark.parametrize("name", BAD_FILES)
def test_invalid_files_are_refused(planted, name):
    _, said = BAD_FILES[name]
    assert planted[1][name].state == UNAVAILABLE
    assert planted[1][name].reason.startswith(said)


@pytest.mark.parametrize("name", BAD_GRAPHS)
def test_graphs_that_crash_or_block_the_checking_process_are_refused(planted, name):
    _, said = BAD_GRAPHS[name]
    assert planted[1][name].state == UNAVAILABLE
    assert re.fullmatch(said, planted[1][name].reason)


def test_reasons_are_short_and_contain_no_paths(planted):
    root, statuses = planted
    for name, status in statuses.items():
        assert len(status.reason) <= 1000, name
        assert status.reason.isprintable(), name
        assert str(root) not in status.reason, name
        assert not re.search(r"site-packages|/proc|\.py\b|\.cc\b", status.reason), name
