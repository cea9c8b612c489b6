"""What `rnnserve serve --check` finds: of each thing that may be wrong, the level of its line and the exit status."""

import datetime as dt
import socket

import pytest

from kit.rotated_files import RotatedFiles
from kit.tiny import publish_tiny
from rnnserve.cli import main
from rnnserve.server.access.access_file import add_token

PORTS = ["--no-http", "--grpc-port", "0", "--provider", "cpu"]


@pytest.fixture
def root(tmp_path):
    publish_tiny(tmp_path / "repository", "scale", 1, 1.5)
    return tmp_path / "repository"


@pytest.fixture
def checked(capsys):
    """Runs the check; its exit status, and level and text of each finding by subject."""

    def check(*words):
        status = main(["serve", "--check", *map(str, words)])
        found = {}
        for line in capsys.readouterr().out.splitlines():
            level, subject, text = line.split(maxsplit=2)
            found.setdefault(subject, []).append((level, text))
        return status, found

    return check


def test_check_reports_the_load_check_of_each_model(root, checked):
    publish_tiny(root, "other", 1, 2.0)
    publish_tiny(root, "scale", 2, 2.0)
    assert checked(root, *PORTS) == (
        0,
        {
            "ports": [("ok", "--grpc-port: 127.0.0.1:any is free")],
            "models": [("ok", f"{name} passed the load check") for name in ("other: version 1", "scale: version 2")],
        },
    )
    model = root / "scale" / "2" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])  # an older version serves in its place
    status, found = checked(root, *PORTS)
    assert status == 0
    assert [level for level, _ in found["models"]] == ["ok", "warning", "ok"]
    model = root / "other" / "1" / "model.onnx"
    model.write_bytes(b"")
    status, found = checked(root, *PORTS)
    assert status == 1
    assert found["models"][0][0] == "problem"


def test_folder_without_models_fails_the_check(tmp_path, checked):
    (tmp_path / "empty").mkdir()
    for folder in ("none", "empty"):
        status, found = checked(tmp_path / folder, *PORTS)
        assert (status, found["start"][0][0]) == (1, "problem")


def test_port_in_use_or_chosen_twice_fails_the_check(root, checked):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, found = checked(root, *PORTS, "--grpc-port", port)
    assert (status, found["ports"][0][0]) == (1, "problem")
    assert f"cannot listen on 127.0.0.1:{port}" in found["ports"][0][1]
    status, found = checked(root, *PORTS, "--grpc-port", port, "--metrics-port", port)
    assert (status, [level for level, _ in found["ports"]]) == (1, ["problem", "problem"])


def test_check_reads_the_files_of_tls_and_tokens(root, tmp_path, checked):
    rotated = RotatedFiles(tmp_path / "tls")
    words = [root, *PORTS, *rotated.options()]
    status, found = checked(*words)
    assert (status, found["certificate"][0][0]) == (0, "ok")
    now = dt.datetime.now(dt.UTC)
    rotated.replace(*rotated.issued(not_before=now - dt.timedelta(9), not_after=now - dt.timedelta(1)))
    status, found = checked(*words)
    assert (status, found["certificate"][0][0]) == (1, "problem")
    tokens = tmp_path / "tokens.toml"
    add_token(tokens, "a", "infer")
    status, found = checked(root, *PORTS, "--tokens", tokens, "--host", "0.0.0.0")
    assert (status, found["exposure"][0][0]) == (0, "warning")
    tokens.write_text("[a")
    status, found = checked(root, *PORTS, "--tokens", tokens)
    assert status == 1
    assert str(tokens) in found["start"][0][1]


def test_removed_command_names_the_check_option(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "repository"])
    assert ended.value.code == 2
    assert "use `rnnserve serve --check`" in capsys.readouterr().err
