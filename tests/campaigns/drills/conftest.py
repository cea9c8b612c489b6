"""Drills try to break a server, beside another client that must notice little (docs/reference/errors-and-limits.md).

After the tests a table tells what each drill cost: the bystander's longest wait, and the server's memory.
"""

import pytest

from campaigns.drills.drilled import SMALL, drilled
from campaigns.drills.wire.bystander import Bystander, Sighting
from kit.waiting import until
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
    """A fresh server, since memory that an earlier drill took would be counted."""
    with drilled(repository) as server:
        yield server


class Watching(Bystander):
    """A bystander that keeps what it has reported.

    Attributes:
        seen: Reports so far.
    """

    def __init__(self, address: str) -> None:
        super().__init__(address, SMALL)
        self.seen: list[Sighting] = []

    def report(self) -> Sighting:
        self.seen.append(super().report())
        return self.seen[-1]


@pytest.fixture
def bystander(server, request):
    """A client that asks the server all the while, and is never failed."""
    bystander = Watching(server.server.address)
    with bystander:
        until(lambda: bystander.report().requests)
        bystander.seen.clear()
        yield bystander
        bystander.report()
    requests, longest = sum(seen.requests for seen in bystander.seen), max(seen.longest for seen in bystander.seen)
    note_cost(request, requests, longest, server.peak, server.resident)
    assert not any(seen.failures for seen in bystander.seen), [seen.text for seen in bystander.seen]


def note_cost(request, answers: int, longest: float, peak: int, resident: int, of: str = "") -> None:
    """Add a drill to the table.

    Args:
        request: The drill's, as pytest gives it.
        answers: How many the bystander had.
        longest: Seconds of its longest wait.
        peak: Bytes of the server's resident memory, at most.
        resident: The same at the end.
        of: Which bystander, where there are several.
    """
    waited = [str(answers), f"{longest * 1e3:.0f}"] if answers else ["", ""]
    row = [f"{request.node.name} {of}".rstrip(), *waited, f"{peak >> 20}", f"{resident >> 20}"]
    request.config.stash.setdefault(COSTS, []).append(row)
