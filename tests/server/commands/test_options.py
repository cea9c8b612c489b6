"""Options of `rnnserve serve`: their defaults, which values they take, and which exclude each other."""

import argparse
import os
from pathlib import Path
from typing import Any, cast

import pytest

from kit.serve_options import configured
from rnnserve.server import Settings
from rnnserve.server.commands import serve
from rnnserve.server.errors import StartError
from rnnserve.server.settings import GROUPS


def parse(*words: str) -> Settings:
    return configured(*words).settings


def test_options_are_written_in_either_form_and_default_otherwise():
    assert parse("models") == Settings(Path("models"))
    parsed = parse("models", "--grpc-port", "65535", "--allow-non-finite", "--max-queue=1", "--grace", "0")
    assert parsed == Settings(Path("models"), grpc_port=65535, allow_non_finite=True, max_queue=1, grace=0.0)


def test_defaults_bind_to_this_machine_and_keep_models_as_they_are():
    settings = Settings()
    assert (settings.host, settings.grpc_port, settings.http_port) == ("127.0.0.1", 8001, None)
    assert (settings.model_control, settings.ready, settings.allow_unproven) == ("none", "any", False)
    assert (settings.tokens, settings.client_roles, settings.tls_certificate) == (None, None, None)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--grpc-port", "65536", "'65536' is not a port: 0 to 65535"),
        ("--grpc-port", "-1", "'-1' is not a port"),
        ("--grpc-port", "x", "'x' is not a port"),
        ("--max-queue", "0", "'0' is not a number of 1 or more"),
        ("--max-sequences", "1.5", "'1.5' is not a number of 1 or more"),
        ("--max-sequence", "²", "is not a number of 1 or more"),
        ("--grace", "-1", "'-1' is not a number of seconds"),
        ("--grace", "inf", "'inf' is not a number of seconds"),
        ("--grace", "soon", "'soon' is not a number of seconds"),
        ("--poll", "0", "0 is not a number of seconds between two looks"),
        ("--workers", "two", "'two' is neither auto nor a number of 1 or more"),
        ("--workers", "0", "'0' is neither auto nor a number of 1 or more"),
        ("--provider", "tpu", "invalid choice: 'tpu'"),
        ("--graph", "fast", "invalid choice: 'fast'"),
    ],
)
def test_wrong_value_is_explained(option, value, said):
    with pytest.raises(argparse.ArgumentError) as refused:
        parse("models", f"{option}={value}")
    assert said in str(refused.value)


def test_options_that_need_others_are_refused_alone():
    for given in ("tls_certificate", "tls_key"):
        with pytest.raises(StartError, match="TLS needs both --tls-certificate and --tls-key"):
            Settings(**{given: Path("x.pem")})  # type: ignore[arg-type]
    with pytest.raises(StartError, match="--tls-client-ca needs TLS"):
        Settings(tls_client_ca=Path("x.pem"))
    with pytest.raises(StartError, match="--load-model needs --model-control explicit"):
        Settings(load_model="a")
    for name in ("provider", "graph", "model_control"):
        option, chosen = f"--{name.replace('_', '-')}", cast("Any", {name: "none of them"})
        with pytest.raises(StartError, match=f"{option} 'none of them': choose from "):
            Settings(Path("repository"), **chosen)


def test_models_are_loaded_at_the_start_unless_their_control_is_explicit():
    for control, load_model, wanted in (
        ("none", "", None), ("poll", "", None), ("explicit", "", []), ("explicit", "a,b", ["a", "b"]),
        ("explicit", "*", None),
    ):  # fmt: skip
        assert Settings(model_control=control, load_model=load_model).wanted_models == wanted


def test_connections_are_renewed_where_workers_share_the_port():
    for asked, share_port, seconds in (
        (None, False, 0.0), (None, True, 60.0), (0.0, True, 0.0), (7.5, False, 7.5), (7.5, True, 7.5),
    ):  # fmt: skip
        assert Settings(max_connection_age=asked, share_port=share_port).connection_age == seconds


def test_one_connection_may_hold_its_largest_request_and_response():
    """A response of 1 MB takes 2 MB and its head, and a connection has half of all."""
    for size in (1, 1 << 20, 16 << 20, 1 << 30):
        settings = Settings(max_message_bytes=size)
        assert settings.max_held_bytes / 2 >= max(size, 2 * settings.max_response_bytes + (1 << 20))


def test_auto_is_one_worker_a_core(monkeypatch):
    for cores in ({1, 4, 6}, {0}):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: cores, raising=False)
        assert configured("models", "--workers=auto").command.workers == len(cores)


def test_help_has_a_group_for_each_subject():
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    titles = [group.title for group in parser._action_groups if group._group_actions]
    assert [title for title in titles if title in GROUPS] == list(GROUPS)
