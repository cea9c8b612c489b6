"""A server that other machines can reach logs one line about what it lacks, and the remedy."""

import itertools
from pathlib import Path
from typing import Any

from rnnserve.server import Settings
from rnnserve.server.commands import serve
from rnnserve.server.commands.serve import exposure

TLS: dict[str, Any] = {"tls_certificate": Path("c.pem"), "tls_key": Path("k.pem")}
MUTUAL = TLS | {"tls_client_ca": Path("a.pem")}
TOKENS: dict[str, Any] = {"tokens": Path("t.toml")}
ROLES = MUTUAL | {"client_roles": Path("r.toml")}

ON_METRICS, FOR_ALL = "without TLS on --metrics-port", "for everybody who reaches it"
WAYS = {
    "without TLS": "--tls-certificate and --tls-key",
    ON_METRICS: "/metrics on the port of HTTP",
    FOR_ALL: "--tokens, or --tls-client-ca and --client-roles",
}


def test_nothing_is_lacking_on_this_machine():
    for host, more in itertools.product(("127.0.0.1", "127.1.2.3", "::1", "localhost"), ({}, TLS, TOKENS, ROLES)):
        assert exposure(Settings(host=host, **more), 9000) == ""


def test_each_lack_has_its_remedy_beyond_this_machine():
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org"):
        for more, metrics_port, lacks in (
            ({}, None, ["without TLS", FOR_ALL]),
            ({}, 9000, ["without TLS", FOR_ALL]),
            (TOKENS, None, ["without TLS"]),
            (TLS, None, [FOR_ALL]),
            (TLS, 9000, [ON_METRICS, FOR_ALL]),
            (TLS | TOKENS, 9000, [ON_METRICS]),
        ):
            said = exposure(Settings(host=host, **more), metrics_port)
            assert said.startswith(f"listens beyond this machine, on {host}, {' and '.join(lacks)}: ")
            for lack, way in WAYS.items():
                assert (way in said) == (lack in lacks)
        for more in (TLS | TOKENS, MUTUAL, ROLES):
            assert exposure(Settings(host=host, **more), None) == ""


def test_start_logs_a_warning(caplog):
    """With workers and without, one function logs the start. Nothing listens here."""
    for host, expected in (("127.0.0.1", 0), ("0.0.0.0", 1)):
        caplog.clear()
        serve._log_start(Settings(host=host), "", None)
        said = [record for record in caplog.records if record.getMessage().startswith("listens beyond this machine")]
        assert [record.levelname for record in said] == ["WARNING"] * expected
