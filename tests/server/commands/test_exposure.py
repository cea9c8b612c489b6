"""A server that others than this machine can reach says in one line what it lacks, and the way out."""

from pathlib import Path

import pytest

from rnnserve.server import Settings
from rnnserve.server.commands import serve
from rnnserve.server.commands.exposure import exposure

TLS = {"tls_certificate": Path("c.pem"), "tls_key": Path("k.pem")}
MUTUAL = TLS | {"tls_client_ca": Path("a.pem")}
TOKENS = {"tokens": Path("t.toml")}
ROLES = MUTUAL | {"client_roles": Path("r.toml")}

ON_METRICS, FOR_ALL = "without TLS on --metrics-port", "for everybody who reaches it"
WAYS = {
    "without TLS": "--tls-certificate and --tls-key",
    ON_METRICS: "/metrics on the port of HTTP",
    FOR_ALL: "--tokens, or --tls-client-ca and --client-roles",
}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
@pytest.mark.parametrize("more", [{}, TLS, TOKENS, ROLES])
def test_on_this_machine_nothing_is_lacking(host, more):
    assert exposure(Settings(host=host, **more), 9000) == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org"])
@pytest.mark.parametrize(
    ("more", "metrics_port", "lacks"),
    [
        ({}, None, ["without TLS", FOR_ALL]),
        ({}, 9000, ["without TLS", FOR_ALL]),
        (TOKENS, None, ["without TLS"]),
        (TLS, None, [FOR_ALL]),
        (TLS, 9000, [ON_METRICS, FOR_ALL]),
        (TLS | TOKENS, None, []),
        (TLS | TOKENS, 9000, [ON_METRICS]),
        (MUTUAL, None, []),
        (ROLES, None, []),
    ],
)
def test_beyond_it_each_lack_has_its_way_out(host, more, metrics_port, lacks):
    said = exposure(Settings(host=host, **more), metrics_port)
    if not lacks:
        assert said == ""
        return
    assert said.startswith(f"listens beyond this machine, on {host}, {' and '.join(lacks)}: ")
    for lack, way in WAYS.items():
        assert (way in said) == (lack in lacks)


def test_the_log_of_a_start_has_it(caplog):
    """Both with workers and without, the start is told by one function; nothing listens here."""
    for host, expected in (("127.0.0.1", 0), ("0.0.0.0", 1)):
        caplog.clear()
        serve._log_start(Settings(host=host), "", None)
        said = [record for record in caplog.records if record.getMessage().startswith("listens beyond this machine")]
        assert [record.levelname for record in said] == ["WARNING"] * expected
