"""The process in which files of unknown origin run is kept as long as it answers, and no longer."""

import os
import signal

import pytest

from rnnserve.common.guarded_process import GuardedProcess
from rnnserve.export.parity import OnnxProcess, onnx_process
from support import kept_onnx_processes


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    """The kept process, of this test alone."""
    monkeypatch.setattr(onnx_process, "GuardedProcess", GuardedProcess)
    monkeypatch.setattr(kept_onnx_processes, "_kept", kept := [])
    kept_onnx_processes.keep()
    yield kept
    kept_onnx_processes.end_kept()


def used():
    """The number of a process that has answered; it does not take the model."""
    with OnnxProcess(60.0) as process:
        with pytest.raises(RuntimeError, match="rotobuf"):
            process.ask({"load": {"providers": ["CPUExecutionProvider"], "optimized": True}}, b"no model")
        return process._process.pid


def test_one_that_has_answered_is_kept(kept):
    assert used() == used()
    (process,) = kept
    kept_onnx_processes.end_kept()
    assert process._popen.poll() is not None


def test_one_that_has_ended_is_not_kept(kept):
    first = used()
    os.kill(first, signal.SIGKILL)
    kept[0]._popen.wait()
    assert used() != first


def test_one_that_has_not_answered_is_not_kept(kept):
    with OnnxProcess(60.0) as process:
        with pytest.raises(RuntimeError):
            process.ask({"load": {"providers": ["CPUExecutionProvider"], "optimized": True}}, b"no model")
        os.kill(process._process.pid, signal.SIGSTOP)
        process._seconds = 0.0
        with pytest.raises(RuntimeError, match="longer than 0 s"):
            process.ask({"load": {"providers": ["CPUExecutionProvider"], "optimized": True}}, b"no model")
    assert not kept


def test_other_surroundings_have_a_process_of_their_own(kept, monkeypatch):
    first = used()
    monkeypatch.setenv("SURROUNDINGS", "others")
    assert used() != first
    assert len(kept) == 1
