"""`rnnserve health` over TLS."""

import pytest
from grpc_health.v1 import health, health_pb2

from kit.certificates import write_certificates
from kit.clients import new_service
from kit.fakes import serving
from rnnserve.cli import main


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def outcome(capsys):
    def run(*words):
        status = main(["health", *words])
        output, errors = capsys.readouterr()
        (line,) = (output + errors).splitlines()
        return status, line

    return run


def test_health_over_tls_needs_certificates_that_fit(files, outcome):
    states = health.HealthServicer()
    states.set("", health_pb2.HealthCheckResponse.SERVING)
    credentials = files.server_credentials(files.server, mutual=True)
    with serving(new_service(), credentials, states=states) as served:
        address = f"grpcs://{served}"
        own = ["--tls-certificate", str(files.client), "--tls-key", str(files.key(files.client))]
        assert outcome(address, "--tls-ca", str(files.ca), *own) == (0, f"ready: {address}")
        status, line = outcome(address, "--tls-ca", str(files.ca))
        assert (status, "client certificate" in line) == (1, True)
        status, line = outcome(address, "--tls-ca", str(files.other_ca), *own)
        assert (status, "certificate" in line) == (1, True)
