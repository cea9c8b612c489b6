"""`rnnserve serve`: its signals, and its warnings when other machines can reach it."""

import itertools
import os
import shutil
import signal
import types
from pathlib import Path
from typing import Any

import pytest

from kit.served import served_process
from kit.tiny import answers, publish_tiny
from kit.waiting import until
from rnnserve.server import Settings
from rnnserve.server.commands import serve
from rnnserve.server.commands.metrics import Metrics
from rnnserve.server.commands.serve import Ending, exposure
from rnnserve.server.signals import SAME_SECONDS

TLS: dict[str, Any] = {"tls_certificate": Path("c.pem"), "tls_key": Path("k.pem")}
MUTUAL = TLS | {"tls_client_ca": Path("a.pem")}
TOKENS: dict[str, Any] = {"tokens": Path("t.toml")}
ROLES = MUTUAL | {"client_roles": Path("r.toml")}

ON_METRICS, FOR_ALL = "without TLS on --metrics-port", "without authentication"
WAYS = {
    "without TLS": "--tls-certificate and --tls-key",
    ON_METRICS: "/metrics on the port of HTTP",
    FOR_ALL: "--tokens, or --tls-client-ca and --client-roles",
}


ENDS = [signal.SIGTERM, signal.SIGINT]


class Exit(Exception):
    """Instead of the process's end."""


@pytest.fixture
def clock():
    return types.SimpleNamespace(now=0.0)


@pytest.fixture
def make(monkeypatch, clock):
    """Makes the signal handling of a serving or a loading server."""

    def leave(status):
        raise Exit(status)

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(serve, "time", types.SimpleNamespace(monotonic=lambda: clock.now))

    def make(*, is_loading=False, **how):
        ending = Ending(**how)
        ending.is_loading = is_loading
        return ending

    return make


def test_first_signal_shuts_down_and_the_second_ends_at_once(make, clock):
    for number in ENDS:
        ending = make()
        ending.take(number)
        assert ending.told.is_set()
        clock.now += SAME_SECONDS + 0.01
        with pytest.raises(Exit) as ended:
            ending.take(signal.SIGINT)
        assert ended.value.args == (130,)


@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("second", ENDS)
def test_repeated_signal_within_a_moment_counts_once(make, clock, first, second):
    """`timeout` signals the process and its group. Make, and runners, pass on what the group has had."""
    ending = make()
    ending.take(first)
    for _ in range(3):
        clock.now += SAME_SECONDS / 4
        ending.take(second)
    assert ending.told.is_set()


def test_worker_ends_at_once_only_if_its_supervisor_kills_it(make, clock):
    """systemd signals all processes of a service, and the supervisor signals its workers."""
    for later in (0.0, 10.0):
        ending = make(is_worker=True)
        ending.take(signal.SIGTERM)
        clock.now += later
        ending.take(signal.SIGTERM)
        assert ending.told.is_set()


def test_worker_drains_at_sighup_and_stops_when_abandoned(make):
    ending = make(is_worker=True)
    ending.take(signal.SIGHUP)
    assert (ending.drains, ending.told.is_set()) == (True, False)
    ending.abandon()
    assert (ending.drains, ending.told.is_set()) == (False, True)


def test_loading_server_cleans_up_and_ends_at_once(make):
    for number in ENDS:
        for is_worker in (True, False):
            cleaned: list[int] = []
            ending = make(is_loading=True, is_worker=is_worker, clean_up=lambda cleaned=cleaned: cleaned.append(1))
            with pytest.raises(Exit) as ended:
                ending.take(number)
            assert (ended.value.args, cleaned) == ((0,), [1])


def test_loopback_needs_no_tls_and_no_access_control():
    for host, more in itertools.product(("127.0.0.1", "127.1.2.3", "::1", "localhost"), ({}, TLS, TOKENS, ROLES)):
        assert exposure(Settings(host=host, **more), 9000) == ""


def test_exposed_server_is_warned_with_the_remedy_for_each_gap():
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
            assert said.startswith(f"Other machines can reach this server on {host} {' and '.join(lacks)}: ")
            for lack, way in WAYS.items():
                assert (way in said) == (lack in lacks)
        for more in (TLS | TOKENS, MUTUAL, ROLES):
            assert exposure(Settings(host=host, **more), None) == ""


def test_start_warns_when_the_server_is_exposed(caplog):
    """With workers and without, one function logs the start. Nothing listens here."""
    for host, expected in (("127.0.0.1", 0), ("0.0.0.0", 1)):
        caplog.clear()
        serve._tell_start(Settings(host=host), 8001, "", Metrics())
        said = [record for record in caplog.records if record.getMessage().startswith("Other machines can reach")]
        assert [record.levelname for record in said] == ["WARNING"] * expected


def test_sighup_reloads_the_repository_and_keeps_the_previous_models_when_it_is_invalid(tmp_path):
    root = tmp_path / "repository"
    publish_tiny(root, "scale", 1, 1.5)
    publish_tiny(root, "other", 1, 7.0)
    with served_process(root) as server:
        publish_tiny(root, "scale", 2, 2.5)
        shutil.rmtree(root / "other")
        server.send(signal.SIGHUP)
        until(lambda: "the repository has been loaded again" in server.log)
        assert answers(server.port) == {("2", 2.5)}
        (root / "scale" / "2" / "model.onnx").write_bytes(b"nonsense")
        server.send(signal.SIGHUP)
        until(lambda: server.log.count("the repository has been loaded again") == 2)
        assert answers(server.port) == {("2", 2.5)}
        root.rename(tmp_path / "away")
        server.send(signal.SIGHUP)
        until(lambda: "still serving the previous models" in server.log)
        root.mkdir()
        server.send(signal.SIGHUP)
        until(lambda: "there are no models in" in server.log)
        assert answers(server.port) == {("2", 2.5)}
        assert "Traceback" not in server.log
