"""What the results say of the machine and of the versions."""

import importlib.metadata

import pytest

from benchmarks.environments import Environment
from benchmarks.run_description import describe_run
from rnnserve.load.machine import describe_machine


@pytest.fixture
def description(tmp_path, monkeypatch):
    h2load = tmp_path / "h2load"
    h2load.write_text("#!/bin/sh\necho h2load nghttp2/1.2.3\n")
    h2load.chmod(0o755)
    empty = Environment(tmp_path / "env", (), "tests")
    monkeypatch.setattr("benchmarks.run_description.find_h2load", lambda: str(h2load))
    monkeypatch.setattr("benchmarks.run_description.TRITON", empty)
    monkeypatch.setattr("benchmarks.run_description.PERF_ANALYZER", empty)
    return describe_run()


def test_the_machine_is_described_as_the_client_does(description):
    hardware, versions = description["hardware"], description["versions"]
    assert {"processor", "cores", "memory", "system"} <= set(hardware)
    assert describe_machine().items() <= (hardware | versions).items()
    assert not hardware.keys() & versions.keys()


def test_the_versions_of_server_and_load_generator_are_named(description):
    versions = description["versions"]
    assert versions["onnxruntime"] == importlib.metadata.version("onnxruntime")
    assert versions["h2load"] == "nghttp2/1.2.3"
