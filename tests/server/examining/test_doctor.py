"""What `rnnserve doctor` finds: of each thing that may be wrong, the line, its level and the exit status."""

import dataclasses
import importlib.util
import resource
import shutil
import socket
import time

import pytest

from kit.tiny import publish_tiny
from rnnserve.cli import main
from rnnserve.server.examining import machine
from rnnserve.server.examining.finding import WARNING, Finding
from rnnserve.server.process import memory_limits
from rnnserve.server.process.memory_limits import Room

PORTS = ["--no-http", "--grpc-port", "0", "--provider", "cpu"]


def test_each_line_says_what_was_found_when_nothing_is_wrong(root, capsys):
    assert main(["doctor", str(root), *PORTS]) == 0
    lines = capsys.readouterr().out.splitlines()
    about = [line.split()[1] for line in lines[:-1]]
    assert about[:4] == ["options", "versions", "provider", "lane"]
    assert {"threads", "files", "cores", "memory", "clock", "ports", "certificates", "repository"} <= set(about)
    assert {line.split()[0] for line in lines[:-1]} <= {"ok", "warning"}
    assert any("scale: would serve version 1" in line for line in lines)


def test_options_are_those_of_serve(root, tmp_path, examined, monkeypatch):
    file = tmp_path / "serve.toml"
    file.write_text(f'repository = "{root}"\nno_http = true\ngrpc_port = 0\nmax_queue = 7\n')
    monkeypatch.setenv("RNNSERVE_MAX_BATCH", "9")
    status, found = examined("--config", file, "--provider", "cpu")
    assert status == 0
    ((_, said),) = found["options"]
    assert "--max-queue=7" in said
    assert "--max-batch=9" in said
    file.write_text("max_queu = 7\n")
    status, found = examined("--config", file)
    assert status == 1
    assert found == {"options": [("problem", f"{file}:1: there is no option max_queu; did you mean max_queue?: ")]}


def test_command_line_without_a_repository_is_wrong(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == 2


def test_port_or_address_that_cannot_be_had_is_a_problem(root, examined):
    for flag in ("--grpc-port", "--http-port", "--metrics-port"):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            words = [word for word in PORTS if word != "--no-http"] if flag == "--http-port" else PORTS
            status, found = examined(root, *words, flag, port)
        assert status == 1
        (said,) = [said for level, said in found["ports"] if level == "problem"]
        assert f"cannot listen on 127.0.0.1:{port}" in said
        assert flag in said
    status, found = examined(root, "--no-http", "--provider", "cpu", "--grpc-port", port, "--metrics-port", port)
    assert status == 1
    assert any(f"{port} is chosen for more than one protocol" in said for _, said in found["ports"])
    status, found = examined(root, *PORTS, "--host", "192.0.2.1")  # of another machine
    assert (status, found["ports"][0][0]) == (1, "problem")


def test_versions_that_would_serve_are_named(root, tmp_path, examined):
    publish_tiny(root, "scale", 2, 2.0)
    publish_tiny(root, "other", 1, 2.0)
    status, found = examined(root, *PORTS)
    assert status == 0
    assert [said.partition(";")[0] for _, said in found["repository"]] == [
        "other: would serve version 1",
        "scale: would serve version 2, and not 1 others",
    ]
    model = next((root / "scale" / "2").glob("model.onnx"))
    model.write_bytes(model.read_bytes()[:-1])  # an older version serves in its place
    status, found = examined(root, *PORTS)
    assert status == 0
    levels = [(level, said.partition(":")[0]) for level, said in found["repository"]]
    assert levels == [("ok", "other"), ("warning", "scale version 2"), ("ok", "scale")]
    shutil.rmtree(root / "scale" / "1")
    status, found = examined(root, *PORTS)
    assert status == 1
    assert ("problem", "scale version 2") in [(level, said.partition(":")[0]) for level, said in found["repository"]]
    shutil.rmtree(root / "other")
    status, found = examined(root, *PORTS)
    assert (status, found["repository"][-1]) == (
        1, ("problem", "no model would serve, so that the server would not start: "),
    )  # fmt: skip


def test_folder_without_models_is_a_problem(tmp_path, examined):
    (tmp_path / "empty").mkdir()
    for folder in ("none", "empty"):
        status, found = examined(tmp_path / folder, *PORTS)
        assert (status, found["repository"][0][0]) == (1, "problem")


def levels_of(examined, root, about, *words):
    """The exit status, and the level and text of the first finding about something."""
    status, found = examined(root, *PORTS, *words)
    return status, *found[about][0]


def test_few_files_are_a_warning(root, examined):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        status, level, said = levels_of(examined, root, "files")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (status, level) == (0, "warning")
    assert "512 files may be open" in said


def test_machine_that_lacks_cores_memory_or_the_right_time_is_told(root, examined, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(machine, "usable_cores", lambda: 1)
        assert levels_of(examined, root, "cores", "--workers", "2")[:2] == (0, "warning")
    with monkeypatch.context() as patched:
        patched.setattr(machine, "memory_left", lambda _: Room(200 << 20, memory_limits._MEMORY))
        status, found = examined(root, *PORTS)
        assert status == 0
        assert ("warning", True) in [(level, "leaves 200 MB" in said) for level, said in found["memory"]]
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: 1e9)
        assert levels_of(examined, root, "clock")[:2] == (1, "problem")
    monkeypatch.setattr(machine, "_is_unsynchronised", lambda: True)
    assert levels_of(examined, root, "clock")[:2] == (0, "warning")


def test_missing_parts_of_the_lane_and_of_onnxruntime_are_told(root, examined, monkeypatch):
    monkeypatch.setattr("rnnserve.server.grpcio_private.missing_parts.missing_parts", lambda _: "grpcio 9 lacks x")
    assert levels_of(examined, root, "lane")[:2] == (0, "warning")
    assert levels_of(examined, root, "lane", "--transport", "lane")[:2] == (1, "problem")
    assert levels_of(examined, root, "lane", "--transport", "public")[:2] == (0, "ok")
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    assert levels_of(examined, root, "provider", "--provider", "cuda")[:2] == (1, "problem")


def test_missing_packages_are_a_problem(root, examined, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    status, found = examined(root, *PORTS)
    assert status == 1
    (said,) = [said for level, said in found["versions"] if level == "problem"]
    assert said.startswith("missing: onnxruntime")
    assert "pip install '.[server]'" in said
    assert found["repository"][0][0] == "problem"


def test_finding_is_one_line():
    finding = Finding(WARNING, "about", "two\nlines", "do this")
    assert finding.line() == "warning  about         two lines: do this"
    assert dataclasses.asdict(finding)["level"] == "warning"
