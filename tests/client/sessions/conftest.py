"""A server of the models of `kit.session_models`, in place of the classifier's."""

import pytest

from kit.fakes import renew, serving
from kit.session_models import MODELS, FailingModels


@pytest.fixture(scope="module")
def _served():
    service = FailingModels(MODELS)
    with serving(service) as address:
        yield service, address


@pytest.fixture
def fake(_served):
    """The fake, like a new one for every test."""
    service, _ = _served
    renew(service, FailingModels(MODELS))
    yield service
    if service.blocked is not None:
        service.blocked.set()


@pytest.fixture
def url(_served, fake):
    del fake  # the fixture renews it
    return _served[1]


@pytest.fixture(params=["carried", "sealed"])
def state(request, fake):
    """How the state travels. The server offers both forms, or only the first."""
    fake.seals = request.param == "sealed"
    return request.param
