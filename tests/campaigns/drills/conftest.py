"""Drills try to break a server while another client uses it, which must notice little
(docs/reference/errors-and-limits.md).
"""

import pytest

from campaigns.drills.bystander import Bystander, Sighting
from campaigns.drills.drilled import SMALL, Memory, drilled
from rnnserve.client.aligned_table import format_aligned_table

COSTS = pytest.StashKey[list[list[str]]]()
HEAD = ["drill", "answers to the bystander", "its longest wait, ms", "server at most, MB", "at the end, MB"]


def pytest_addoption(parser):
    parser.addoption("--soak-minutes", type=float, default=30.0, help="how long the soak among the long drills takes")


def pytest_terminal_summary(terminalreporter, config):
    costs = config.stash.get(COSTS, [])
    if costs:
        terminalreporter.section("what the drills cost")
        terminalreporter.write_line(format_aligned_table(HEAD, costs))


@pytest.fixture
def server(repository):
    """A fresh server, so that memory used by earlier drills doesn't count."""
    with drilled(repository) as server:
        yield server


@pytest.fixture
def bystander(server, request):
    """A client that sends requests to the server during the drill. None of them may fail."""
    with Bystander(server.server.address, SMALL) as bystander:
        yield bystander
        check_sighting(request, bystander.report(), server.memory)


def check_sighting(request, seen: Sighting, memory: Memory, of: str = "") -> None:
    """Add a drill to the table, and check that no request of the bystander failed.

    Args:
        request: pytest's fixture request of the drill.
        seen: The bystander's measurements.
        memory: The server's memory.
        of: Name of the bystander, if there are several.
    """
    row = [f"{request.node.name} {of}".rstrip(), str(seen.requests), f"{seen.longest * 1e3:.0f}"]
    request.config.stash.setdefault(COSTS, []).append([*row, f"{memory.peak >> 20}", f"{memory.now >> 20}"])
    assert seen.failures == {}, (of, seen.text)
