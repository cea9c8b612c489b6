"""`rnnserve serve --tokens` as people run it: HTTP, metrics, our own clients; and that no token is shown anywhere."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from kit.gateways import SETTINGS
from kit.served import RNNSERVE, served_process
from kit.tokens import tokens_in
from rnnserve.cli import main
from rnnserve.client import (
    Client,
    PermissionDenied,
    Unauthenticated,
)
from rnnserve.protos.access_table import ROUTES, Need

from .locked_fronts import BODIES, BODY, SIMPLE, WAYS, LockedFront

INPUTS = {"input": np.zeros((1, 3, 2), "f4")}


@pytest.fixture(scope="module")
def locked(repository, tmp_path_factory):
    tokens = tokens_in(tmp_path_factory.mktemp("locked"))
    settings = SETTINGS | {"metrics_port": 0, "tokens": tokens.path, "log_requests": "all", "log_level": "debug"}
    with served_process(repository, **settings) as process:
        yield LockedFront(process, process.http_address, process.metrics_address, tokens)
        shown = process.log + tokens.path.read_text()
        for pid in (process.process.pid, *process.children()):
            shown += Path(f"/proc/{pid}/cmdline").read_text()
        for token in (tokens.infer, tokens.admin, tokens.metrics, tokens.elsewhere, tokens.expired, tokens.unknown):
            assert token not in shown
            assert token[4:] not in shown
        assert "Traceback" not in process.log


def test_routes_refuse_clients_without_permission(locked):
    tokens = locked.tokens
    for name, method, path in WAYS:
        need, body = ROUTES[name], BODIES.get(name, b"{}") if method == "POST" else None
        refusals = set()
        for token in ("", tokens.unknown, tokens.expired):
            status, headers, text = locked.ask(path, token, method, body)
            if need in (Need.HEALTH, Need.OPEN):
                assert status in (200, 204)
                continue
            assert (status, headers["www-authenticate"]) == (401, "Bearer"), (name, token, text)
            refusals.add(json.loads(text)["error"] if text else "")
        assert len(refusals) <= 1
        assert not any(SIMPLE in words for words in refusals)
        for kind in ("infer", "metrics", "admin"):
            status, _, text = locked.ask(path, getattr(tokens, kind), method, body)
            assert (status in (401, 403)) == (kind not in need.value), (name, kind, status, text)
        if SIMPLE in path or "no_such" in path:
            assert locked.ask(path, tokens.elsewhere, method, body)[0] == 403


def test_metrics_need_the_metrics_role(locked):
    for path, address in (("/metrics", locked.metrics), ("/", locked.metrics), ("/metrics", locked.address)):
        tokens = locked.tokens
        for token, expected in (("", 401), (tokens.unknown, 401), (tokens.expired, 401), (tokens.infer, 403)):
            status, headers, text = locked.ask(path, token, address=address)
            assert status == expected, (path, address, token)
            assert (headers.get("www-authenticate") == "Bearer") == (expected == 401)
            assert b"rnnserve_" not in text
        for token in (tokens.metrics, tokens.admin):
            assert locked.ask(path, token, address=address)[0] == 200


def test_client_and_commands_send_their_token(locked, tmp_path, capsys, monkeypatch):
    address = locked.process.address
    path = tmp_path / "token"
    path.write_text(f"{locked.tokens.infer}\n")
    path.chmod(0o600)
    for arguments in ({"token": locked.tokens.infer}, {"token_file": path}):
        with Client(address, **arguments) as client:
            assert client.infer(SIMPLE, INPUTS)
            with client.session(SIMPLE) as session:
                assert session.step([0.0, 0.0])
    with Client(address) as client, pytest.raises(Unauthenticated):
        client.infer(SIMPLE, INPUTS)
    with Client(address, token=locked.tokens.elsewhere) as client, pytest.raises(PermissionDenied):
        client.infer(SIMPLE, INPUTS)
    token_file = f"--token-file={path}"
    rows = tmp_path / "rows.json"
    rows.write_text("[[[0, 0], [1, 1]]]")
    assert main(["infer", SIMPLE, str(rows), "--url", address, token_file]) == 0
    assert main(["health", address, token_file, "--model", SIMPLE]) == 0
    monkeypatch.setenv("RNNSERVE_TOKEN_FILE", str(path))
    assert main(["health", address, "--model", SIMPLE]) == 0
    monkeypatch.delenv("RNNSERVE_TOKEN_FILE")
    assert main(["health", address, "--model", SIMPLE]) == 1
    assert locked.tokens.infer not in "".join(capsys.readouterr())


def test_gateway_on_another_machine_passes_on_client_tokens(locked):
    infer = f"/v2/models/{SIMPLE}/infer"
    command = [*RNNSERVE, "web", "--upstream", locked.process.address, "--http-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().removeprefix("HTTP on ").strip()
            tokens = {"": 401, locked.tokens.unknown: 401, locked.tokens.infer: 200, locked.tokens.elsewhere: 403}
            for token, status in tokens.items():
                assert locked.ask(infer, token, "POST", BODY, address=address)[0] == status
        finally:
            process.terminate()
