"""A server with the models of `kit.session_models`, and both clients of it."""

import asyncio

import pytest

from kit.fakes import serving
from kit.session_models import MODELS, Awaited, FailingModels
from rnnserve.client import AsyncClient, Client


@pytest.fixture(scope="module")
def _served():
    service = FailingModels(MODELS)  # type: ignore[abstract]
    with serving(service) as address:
        yield service, address


@pytest.fixture
def url(_served):
    return _served[1]


@pytest.fixture
def fake(_served):
    """The fake, as new for every test."""
    service, _ = _served
    for name, value in vars(FailingModels(MODELS)).items():  # type: ignore[abstract]
        setattr(service, name, value)
    yield service
    if service.blocked is not None:
        service.blocked.set()


@pytest.fixture(params=["sync", "async"])
def client(request, url, fake):
    if request.param == "sync":
        with Client(url) as client:
            yield client
    else:
        with asyncio.Runner() as runner, Awaited(AsyncClient(url), runner) as client:
            yield client


@pytest.fixture(params=["carried", "sealed"])
def state(request, fake):
    """How the state travels; the server offers both, or only the one."""
    fake.seals = request.param == "sealed"
    return request.param
