"""Options of `rnnserve serve`, from the command line, the environment, a file and defaults, and their mistakes."""

import argparse
import dataclasses
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from kit.serve_options import configured
from rnnserve.server import Settings
from rnnserve.server.commands.options import FORMER, OPTIONS, write_options
from rnnserve.server.errors import StartError

# By option: a text for the command line and the environment, one for a file, and the value of both.
OTHER = {
    "repository": ("m", '"m"', Path("m")), "model_name": ("it", '"it"', "it"),
    "host": ("::1", '"::1"', "::1"), "grpc_port": ("0", "0", 0),
    "provider": ("cpu", '"cpu"', "cpu"), "threads": ("3", "3", 3),
    "plain": ("", "true", True), "transport": ("native", '"native"', "native"),
    "tls_certificate": ("c.pem", '"c.pem"', Path("c.pem")),
    "tls_key": ("k.pem", '"k.pem"', Path("k.pem")), "tls_client_ca": ("a.pem", '"a.pem"', Path("a.pem")),
    "tokens": ("t.toml", '"t.toml"', Path("t.toml")),
    "client_roles": ("r.toml", '"r.toml"', Path("r.toml")),
    "session_key": ("s.key", '"s.key"', Path("s.key")),
    "max_queue": ("7", "7", 7), "max_wait": ("2.5", "2.5", 2.5), "max_message_bytes": ("8", "8", 8),
    "max_sequence": ("10", '"10"', 10), "max_sequences": ("13", "1_3", 13),
    "allow_non_finite": ("", "true", True), "allow_unproven": ("", "true", True),
    "model_control": ("explicit", '"explicit"', "explicit"),
    "load_model": ("*", '"*"', "*"),
    "ready": ("all", '"all"', "all"), "load_timeout": ("0.5", "0.5", 0.5),
    "drain": ("1.5", "1.5", 1.5), "grace": ("0.25", "0.25", 0.25), "max_connection_age": ("0", "0", 0.0),
    "log_requests": ("all", '"all"', "all"),
    "workers": ("2", "2", 2), "http_port": ("0", "0", 0), "no_http": ("", "true", True),
    "http_allow_host": ("a", '["a"]', ("a",)),
    "metrics_port": ("0", "0", 0),
    "log_level": ("debug", '"debug"', "debug"),
    "log_format": ("json", '"json"', "json"),
    "require_signature": ("a,b", '["a", "b"]', (Path("a"), Path("b"))),
}  # fmt: skip

# What an option needs beside it.
BESIDE = {
    "tls_certificate": {"tls_key": "k"},
    "tls_key": {"tls_certificate": "c"},
    "tls_client_ca": {"tls_certificate": "c", "tls_key": "k"},
    "load_model": {"model_control": "explicit"},
    "client_roles": {"tls_certificate": "c", "tls_key": "k", "tls_client_ca": "a"},
}


def value_of(configuration, name):
    owner = configuration.settings if name in {field.name for field in dataclasses.fields(Settings)} else None
    return getattr(owner, name) if owner and name != "http_port" else getattr(configuration.command, name)


def in_folder(folder, value):
    """A value of a file: paths in it are relative to its folder."""
    if isinstance(value, tuple):
        return tuple(in_folder(folder, one) for one in value)
    return folder / value if isinstance(value, Path) else value


def variables(name, text=None):
    """Return the environment that sets an option and its prerequisites, or only these if there is no text."""
    given = {"repository": "models"} | BESIDE.get(name, {}) | {name: text}
    return {f"RNNSERVE_{key.upper()}": value for key, value in given.items() if value is not None}


def test_each_option_can_be_set_by_variable_and_file_and_is_printed(tmp_path):
    assert sorted(OTHER) == sorted(declared.name for declared in OPTIONS)
    file, again = tmp_path / "serve.toml", tmp_path / "again.toml"
    for declared in OPTIONS:
        name = declared.name
        text, in_file, value = OTHER[name]
        assert value != declared.default

        found = configured(environment=variables(name, text or "true"))
        assert value_of(found, name) == value
        assert found.origins[name] == f"RNNSERVE_{name.upper()}"

        file.write_text(f"# first\n\n{name} = {in_file}\n")
        beside = {key: each for key, each in variables(name).items() if key != f"RNNSERVE_{name.upper()}"}
        read = configured("--config", str(file), environment=beside)
        assert value_of(read, name) == in_folder(tmp_path, value)
        assert read.origins[name] == str(file)

        again.write_text(found.text())
        read = configured(f"--config={again}")
        for each in OPTIONS:
            assert value_of(read, each.name) == in_folder(tmp_path, value_of(found, each.name))
        line = next(line for line in found.text().splitlines() if line.startswith(f"{name} = "))
        assert line.endswith(f"  # RNNSERVE_{name.upper()}")


def test_settings_survive_being_written_as_arguments():
    """A supervisor passes its settings to its workers as arguments."""
    names = {field.name for field in dataclasses.fields(Settings)}
    values = {name: value for name, (_, _, value) in OTHER.items() if name in names and name != "http_port"}
    del values["transport"]  # the native one has no TLS
    values |= {"repository": Path("-models"), "tls_certificate": Path("a b.pem"), "tls_key": Path("-k.pem")}
    values |= {"require_signature": (Path("-a.pub"), Path("b.pub"))}
    of_tokens = {name: value for name, value in values.items() if name != "client_roles"}
    of_certificates = {name: value for name, value in values.items() if name != "tokens"}
    native: dict[str, Any] = {"repository": Path("models"), "transport": "native"}
    for given in (native, of_tokens, of_certificates):
        settings = Settings(**given)
        assert configured(*write_options(settings)).settings == settings


def test_command_line_overrides_variables_and_variables_override_the_file(tmp_path):
    file = tmp_path / "serve.toml"
    file.write_text("repository = 'in_file'\nmax_queue = 1\nmax_sequences = 2\nmax_sequence = 3\n")
    environment = {"RNNSERVE_MAX_QUEUE": "10", "RNNSERVE_MAX_SEQUENCES": "20", "RNNSERVE_CONFIG": str(file)}
    found = configured("--max-queue=100", environment=environment)
    settings = found.settings
    assert (settings.max_queue, settings.max_sequences, settings.max_sequence) == (100, 20, 3)
    assert settings.repository == tmp_path / "in_file"
    assert [found.origins[f"max_{name}"] for name in ("queue", "sequences", "sequence", "message_bytes")] == [
        "command line", "RNNSERVE_MAX_SEQUENCES", str(file), "default",
    ]  # fmt: skip
    other = tmp_path / "other.toml"
    other.write_text("max_sequence = 4\n")
    assert configured("m", f"--config={other}", environment=environment).settings.max_sequence == 4
    file.write_text("no_http = true\nplain = true\n")
    found = configured("m", f"--config={file}", environment={"RNNSERVE_NO_HTTP": "off"})
    assert (found.command.no_http, found.settings.plain) == (False, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\nmax_queu = 7\n", ": there is no option max_queu; did you mean max_queue?"),
        ("# x\n[server]\nmax_queue = 7\n", ": there is no option server"),
        ("max_queue = 0\n", ": max_queue: '0' is not an integer of 1 or more"),
        ("max_queue = true\n", ": max_queue: expected a number, got True"),
        ("host = 1\n", ": host: expected a text, got 1"),
        ("plain = 'yes'\n", ": plain: expected true or false, got 'yes'"),
        ("provider = 'cpuu'\n", ": provider: expected one of cpu, cuda, auto, got 'cpuu'"),
        ("http_allow_host = 'a'\n", ": http_allow_host: expected a list, got 'a'"),
        ("http_allow_host = [1]\n", ": http_allow_host: expected a text, got 1"),
        ("max_queue\n", " is not valid TOML: Expected '=' after a key"),
        ("# \xff".encode("latin-1"), " is not valid TOML: 'utf-8' codec can't decode byte"),
    ],
)
def test_wrong_file_is_refused_by_key(text, said, tmp_path):
    file = tmp_path / "serve.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StartError) as refused:
        configured("models", f"--config={file}")
    assert f"{file}{said}" in str(refused.value)
    with pytest.raises(StartError, match=r"cannot read the configuration .*nothing: No such file or directory"):
        configured("models", environment={"RNNSERVE_CONFIG": str(tmp_path / "nothing")})


def test_removed_option_names_its_replacement(tmp_path, capsys):
    file = tmp_path / "serve.toml"
    for name, instead in FORMER.items():
        with pytest.raises(StartError) as refused:
            configured("models", environment={f"RNNSERVE_{name.upper()}": "1"})
        assert str(refused.value) == f"there is no option for the variable RNNSERVE_{name.upper()} any more: {instead}"
        file.write_text(f"{name} = 1\n")
        with pytest.raises(StartError) as refused:
            configured("models", f"--config={file}")
        assert str(refused.value) == f"{file}: there is no option {name} any more: {instead}"
        for words in ((f"--{name.replace('_', '-')}=1",), (f"--{name.replace('_', '-')}",)):
            with pytest.raises(SystemExit):
                configured("models", *words)
            assert instead in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        (
            "RNNSERVE_MAX_QUEU",
            "7",
            "there is no option for the variable RNNSERVE_MAX_QUEU; did you mean RNNSERVE_MAX_Q",
        ),
        ("RNNSERVE_SHARE_PORT", "1", "there is no option for the variable RNNSERVE_SHARE_PORT"),
        ("RNNSERVE_PLAIN", "maybe", "RNNSERVE_PLAIN: expected true or false, got 'maybe'"),
        ("RNNSERVE_READY", "some", "RNNSERVE_READY: expected one of any, all, got 'some'"),
    ],
)
def test_wrong_variable_is_refused_by_name(variable, text, said):
    with pytest.raises(StartError) as refused:
        configured("models", environment={variable: text})
    assert str(refused.value).startswith(said)


def test_variables_of_kubernetes_are_ignored():
    """For services that are named "rnnserve" and "rnnserve-grpc", with named ports."""
    for service in ("RNNSERVE", "RNNSERVE_GRPC"):
        port = f"{service}_PORT_8001_TCP"
        environment = {f"{port}_PROTO": "tcp", f"{port}_PORT": "8001", f"{port}_ADDR": "10.0.0.1"}
        environment |= {port: "tcp://10.0.0.1:8001", f"{service}_PORT": "tcp://10.0.0.1:8001"}
        environment |= {f"{service}_SERVICE_{key}": "8001" for key in ("HOST", "PORT", "PORT_H2C")}
        assert configured("models", environment=environment).changed() == []


def test_command_prints_the_configuration_and_a_worker_reads_no_variable():
    """A worker has from its supervisor what that has read: a file may be another one by then."""

    def run(*words, **environment):
        command = [sys.executable, "-m", "rnnserve.cli", "serve", "models", "--print-config", *words]
        environment = {**os.environ, **environment}
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)

    ended = run("--http-allow-host", 'a"\x7f\\', RNNSERVE_MAX_QUEUE="7")
    assert (ended.returncode, ended.stderr) == (0, "")
    table = tomllib.loads(ended.stdout)
    assert (table["repository"], table["max_queue"], table["http_allow_host"]) == ("models", 7, ['a"\x7f\\'])
    refused = run(RNNSERVE_MAX_QUEU="7")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    ended = run("--report-fd=1", "--max-queue=9", RNNSERVE_MAX_QUEUE="x", RNNSERVE_CONFIG="x")
    assert (ended.returncode, tomllib.loads(ended.stdout)["max_queue"]) == (0, 9)


def test_defaults_serve_only_this_machine_without_model_control():
    settings = Settings()
    assert (settings.host, settings.grpc_port, settings.http_port) == ("127.0.0.1", 8001, None)
    assert (settings.model_control, settings.ready, settings.allow_unproven) == ("none", "any", False)
    assert (settings.tokens, settings.client_roles, settings.tls_certificate) == (None, None, None)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--grpc-port", "65536", "'65536' is not a port; expected 0 to 65535"),
        ("--max-sequences", "1.5", "'1.5' is not an integer of 1 or more"),
        ("--max-sequence", "²", "is not an integer of 1 or more"),
        ("--grace", "-1", "'-1' is not a number of seconds"),
        ("--grace", "inf", "'inf' is not a number of seconds"),
        ("--workers", "two", "expected auto or an integer of 1 or more, got 'two'"),
        ("--provider", "tpu", "invalid choice: 'tpu'"),
    ],
)
def test_wrong_value_is_explained(option, value, said):
    with pytest.raises(argparse.ArgumentError) as refused:
        configured("models", f"{option}={value}")
    assert said in str(refused.value)


def test_options_that_need_others_are_refused_alone():
    for given in ("tls_certificate", "tls_key"):
        with pytest.raises(StartError, match="TLS needs both --tls-certificate and --tls-key"):
            Settings(**{given: Path("x.pem")})  # type: ignore[arg-type]
    with pytest.raises(StartError, match="--tls-client-ca needs TLS"):
        Settings(tls_client_ca=Path("x.pem"))
    with pytest.raises(StartError, match="--load-model needs --model-control explicit"):
        Settings(load_model="a")
    with pytest.raises(StartError, match="graph 'none of them': choose from native, scan, auto"):
        Settings(Path("repository"), graph="none of them")
    with pytest.raises(StartError, match="--ready 'none of them': choose from "):
        Settings(Path("repository"), ready="none of them")
