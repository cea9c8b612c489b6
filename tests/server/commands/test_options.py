"""The command line is made from the fields of `Settings`, and a worker's from its supervisor's settings."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any, cast

import pytest

from kit.serve_options import configured
from rnnserve.server import Settings
from rnnserve.server.commands.options import write_options
from rnnserve.server.errors import StartError

OTHER = Settings(
    repository=Path("-models"), model_name="it", host="::1", grpc_port=0, provider="cpu", graph="scan", threads=3,
    transport="public",
    tls_certificate=Path("a b.pem"), tls_key=Path("-k.pem"), tls_client_ca=Path("c.pem"),
    tokens=Path("t.toml"), closed_health=True, max_wrong_tokens=4,
    session_key=Path("s.key"), session_age=90.0, max_queue=7,
    max_message_bytes=8, max_response_bytes=11, max_held_bytes=3 << 20, max_wait=2.5, max_batch=9, max_sequence=10,
    max_sequences=13, max_sequence_bytes=14, sequence_idle=3.5, max_streams=15, share_sequences=True,
    allow_non_finite=True, allow_unproven=True, load_timeout=0.5, max_load_bytes=12, grace=0.25, max_connection_age=0.0,
    max_connection_age_grace=3.0, model_control="explicit", poll=2.0, load_model="*", ready="all", drain=1.5,
    log_requests="all",
    traces=True, require_signature=(Path("-a.pub"), Path("b.pub")), refused_signatures=Path("refused"),
    signature_record=Path("record.json"), allow_rollback=True,
)  # fmt: skip

OF_CERTIFICATES = dataclasses.replace(OTHER, tokens=None, client_roles=Path("r.toml"))  # which tokens exclude


def parse(*words: str) -> Settings:
    return configured(*words).settings


def test_the_other_settings_differ_in_every_option():
    for field in dataclasses.fields(Settings):
        if "option" in field.metadata:
            settings = OF_CERTIFICATES if field.name == "client_roles" else OTHER
            assert getattr(settings, field.name) != field.default, field.name


@pytest.mark.parametrize(
    "settings", [Settings(Path("models")), OTHER, OF_CERTIFICATES], ids=["defaults", "others", "certificates"]
)
def test_settings_that_are_written_as_arguments_are_read_again(settings):
    assert parse(*write_options(settings)) == settings


def test_without_arguments_the_defaults_hold():
    assert parse("models") == Settings(Path("models"))


def test_the_defaults():
    """README and the documents name them."""
    settings = Settings()
    assert dataclasses.asdict(settings) == {
        "repository": Path("repository"),
        "model_name": None,
        "host": "127.0.0.1",
        "grpc_port": 8001,
        "provider": "auto",
        "graph": "auto",
        "threads": 1,
        "transport": "auto",
        "tls_certificate": None,
        "tls_key": None,
        "tls_client_ca": None,
        "tokens": None,
        "client_roles": None,
        "closed_health": False,
        "max_wrong_tokens": 32,
        "session_key": None,
        "session_age": 86400.0,
        "max_queue": 4096,
        "max_message_bytes": 16 * 2**20,
        "max_response_bytes": 64 * 2**20,
        "max_held_bytes": 288 * 2**20,
        "max_wait": 10.0,
        "max_batch": 16384,
        "max_sequence": 4096,
        "max_sequences": 16384,
        "max_sequence_bytes": 256 * 2**20,
        "sequence_idle": 60.0,
        "share_sequences": False,
        "max_streams": 8192,
        "allow_non_finite": False,
        "allow_unproven": False,
        "model_control": "none",
        "poll": 5.0,
        "load_model": "",
        "ready": "any",
        "load_timeout": 60.0,
        "max_load_bytes": 512 * 2**20,
        "drain": 0.0,
        "grace": 5.0,
        "max_connection_age": None,
        "log_requests": "errors",
        "traces": False,
        "max_connection_age_grace": 0.0,
        "share_port": False,
        "sharers": 1,
        "http_port": None,
        "private_sockets": None,
        "require_signature": (),
        "refused_signatures": None,
        "signature_record": None,
        "allow_rollback": False,
    }


def test_how_an_option_is_written():
    parsed = parse("models", "--grpc-port", "9", "--allow-non-finite", "--max-queue=3", "--provider", "cpu")
    expected = Settings(Path("models"), grpc_port=9, allow_non_finite=True, max_queue=3, provider="cpu")
    assert parsed == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--grpc-port", "65536"], "'65536' is not a port: 0 to 65535"),
        (["--grpc-port", "-1"], "'-1' is not a port"),
        (["--grpc-port", "x"], "'x' is not a port"),
        (["--max-queue", "0"], "'0' is not a number of 1 or more"),
        (["--max-batch", "1.5"], "'1.5' is not a number of 1 or more"),
        (["--max-sequence", "²"], "is not a number of 1 or more"),
        (["--grace", "-1"], "'-1' is not a number of seconds"),
        (["--grace", "inf"], "'inf' is not a number of seconds"),
        (["--grace", "soon"], "'soon' is not a number of seconds"),
        (["--poll", "0"], "0 is not a number of seconds between two looks"),
        (["--provider", "tpu"], "invalid choice: 'tpu'"),
        (["--graph", "fast"], "invalid choice: 'fast'"),
    ],
)
def test_a_wrong_value_is_explained(words, said):
    option, value = words
    with pytest.raises(argparse.ArgumentError) as refused:
        parse("models", f"{option}={value}")
    assert said in str(refused.value)


def test_the_largest_port_and_no_grace_are_values():
    parsed = parse("models", "--grpc-port", "65535", "--grace", "0", "--max-queue", "1")
    assert (parsed.grpc_port, parsed.grace, parsed.max_queue) == (65535, 0.0, 1)


@pytest.mark.parametrize("given", ["tls_certificate", "tls_key"])
def test_one_file_of_tls_is_not_enough(given):
    with pytest.raises(StartError, match="TLS needs both --tls-certificate and --tls-key"):
        Settings(**{given: Path("x.pem")})  # type: ignore[arg-type]


def test_certificates_of_clients_need_tls():
    with pytest.raises(StartError, match="--tls-client-ca needs TLS"):
        Settings(tls_client_ca=Path("x.pem"))


@pytest.mark.parametrize(
    ("control", "load_model", "wanted"),
    [
        ("none", "", None),
        ("poll", "", None),
        ("explicit", "", []),
        ("explicit", "a,b", ["a", "b"]),
        ("explicit", "*", None),
    ],
)
def test_models_that_are_loaded_at_the_start(control, load_model, wanted):
    assert Settings(model_control=control, load_model=load_model).wanted_models == wanted


def test_models_to_load_are_named_only_where_not_all_are_loaded():
    with pytest.raises(StartError, match="--load-model needs --model-control explicit"):
        Settings(load_model="a")


@pytest.mark.parametrize(
    ("asked", "share_port", "seconds"),
    [(None, False, 0.0), (None, True, 60.0), (0.0, True, 0.0), (7.5, False, 7.5), (7.5, True, 7.5)],
)
def test_connections_are_renewed_where_workers_share_the_port(asked, share_port, seconds):
    assert Settings(max_connection_age=asked, share_port=share_port).connection_age == seconds


@pytest.mark.parametrize(("held", "is_enough"), [(6 << 20, True), ((6 << 20) - 1, False)])
def test_one_connection_may_hold_its_largest_request_and_response(held, is_enough):
    """A response of 1 MB takes 2 MB and its head, and a connection has half of all."""
    small = Settings(max_message_bytes=1 << 20, max_response_bytes=1 << 20)
    if is_enough:
        dataclasses.replace(small, max_held_bytes=held)
    else:
        with pytest.raises(StartError, match=f"--max-held-bytes {held} is too little .*: give it 6291456 or more"):
            dataclasses.replace(small, max_held_bytes=held)


@pytest.mark.parametrize("name", ["provider", "graph", "transport", "model_control"])
def test_what_there_is_no_choice_of_is_refused_with_the_choices(name):
    option, chosen = f"--{name.replace('_', '-')}", cast("Any", {name: "none of them"})
    with pytest.raises(StartError, match=f"{option} 'none of them': choose from "):
        Settings(Path("repository"), **chosen)
