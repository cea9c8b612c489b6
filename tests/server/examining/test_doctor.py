"""What `rnnserve doctor` finds: of each thing that may be wrong, the line, its level and the exit status."""

import dataclasses
import importlib.util
import resource
import shutil
import socket
import time

import pytest

from kit.factors import publish_factor
from rnnserve.cli import main
from rnnserve.server.examining import machine
from rnnserve.server.examining.finding import WARNING, Finding
from rnnserve.server.process import memory_limits
from rnnserve.server.process.memory_limits import Room

PORTS = ["--no-http", "--grpc-port", "0", "--provider", "cpu"]


def test_where_nothing_is_wrong_each_line_says_what_was_found(root, capsys):
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


def test_no_repository_named_is_a_wrong_command_line(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == 2


@pytest.mark.parametrize("flag", ["--grpc-port", "--http-port", "--metrics-port"])
def test_a_port_in_use(root, examined, flag):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = [word for word in PORTS if word != "--no-http"] if flag == "--http-port" else PORTS
        status, found = examined(root, *words, flag, port)
    assert status == 1
    (said,) = [said for level, said in found["ports"] if level == "problem"]
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert flag in said


def test_one_port_for_two_protocols(root, examined):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    status, found = examined(root, "--no-http", "--provider", "cpu", "--grpc-port", port, "--metrics-port", port)
    assert status == 1
    assert any(f"{port} is chosen for more than one protocol" in said for _, said in found["ports"])


def test_an_address_of_another_machine(root, examined):
    status, found = examined(root, *PORTS, "--host", "192.0.2.1")
    assert status == 1
    assert found["ports"][0][0] == "problem"


def test_what_would_serve(root, tmp_path, examined):
    publish_factor(root, "scale", 2, 2.0)
    publish_factor(root, "other", 1, 2.0)
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


@pytest.mark.parametrize("folder", ["none", "empty"])
def test_no_models(tmp_path, examined, folder):
    (tmp_path / "empty").mkdir()
    status, found = examined(tmp_path / folder, *PORTS)
    assert status == 1
    assert found["repository"][0][0] == "problem"


def test_few_files(root, examined):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        status, found = examined(root, *PORTS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (status, found["files"][0][0]) == (0, "warning")
    assert "512 files may be open" in found["files"][0][1]


def test_more_threads_than_cores(root, examined, monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 1)
    status, found = examined(root, *PORTS, "--workers", "2")
    assert (status, found["cores"][0][0]) == (0, "warning")


def test_little_memory(root, examined, monkeypatch):
    monkeypatch.setattr(machine, "memory_left", lambda _: Room(200 << 20, memory_limits._MEMORY))
    status, found = examined(root, *PORTS)
    assert status == 0
    assert ("warning", True) in [(level, "leaves 200 MB" in said) for level, said in found["memory"]]


def test_a_clock_that_is_behind(root, examined, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1e9)
    status, found = examined(root, *PORTS)
    assert (status, found["clock"][0][0]) == (1, "problem")


def test_a_clock_that_nothing_keeps_right(root, examined, monkeypatch):
    monkeypatch.setattr(machine, "_is_unsynchronised", lambda: True)
    status, found = examined(root, *PORTS)
    assert (status, found["clock"][0][0]) == (0, "warning")


def test_what_the_lane_lacks(root, examined, monkeypatch):
    monkeypatch.setattr("rnnserve.server.grpcio_private.missing_parts.missing_parts", lambda _: "grpcio 9 lacks x")
    status, found = examined(root, *PORTS)
    assert (status, found["lane"][0][0]) == (0, "warning")
    status, found = examined(root, *PORTS, "--transport", "lane")
    assert (status, found["lane"][0][0]) == (1, "problem")
    status, found = examined(root, *PORTS, "--transport", "public")
    assert (status, found["lane"][0][0]) == (0, "ok")


def test_cuda_that_is_not_there(root, examined, monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    status, found = examined(root, "--no-http", "--grpc-port", "0", "--provider", "cuda")
    assert (status, found["provider"][0][0]) == (1, "problem")


def test_packages_that_are_missing(root, examined, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    status, found = examined(root, *PORTS)
    assert status == 1
    (said,) = [said for level, said in found["versions"] if level == "problem"]
    assert said.startswith("missing: onnxruntime")
    assert "pip install '.[server]'" in said
    assert found["repository"][0][0] == "problem"


def test_a_finding_is_one_line():
    finding = Finding(WARNING, "about", "two\nlines", "do this")
    assert finding.line() == "warning  about         two lines: do this"
    assert dataclasses.asdict(finding)["level"] == "warning"
