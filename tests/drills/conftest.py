"""Drills: what tries to break a server, beside a bystander that must notice little of it (docs/reference/limits.md)."""

import pytest

from support.drilled import Bystander, drilled


@pytest.fixture(scope="module", params=["lane", "public"])
def transport(request):
    return request.param


@pytest.fixture
def server(repository, transport):
    """A fresh server, since memory that an earlier drill took would be counted."""
    with drilled(repository, "--transport", transport) as server:
        yield server


@pytest.fixture
def bystander(server):
    with Bystander(server.port) as bystander:
        yield bystander
        assert bystander.failures == []
