"""Files that end or block onnxruntime cost `rnnserve import` and `rnnserve check` a line, and not the process."""

import re
from pathlib import Path

import numpy as np
import pytest

from kit.bad_versions import ABORTING, ENDLESS, SAMPLE, TWICE
from rnnserve.cli import main
from rnnserve.export.parity import OnnxProcess, OnnxRunner

SAID = {
    "aborting": (ABORTING, r"onnxruntime ended the process that ran the model, with SIG(ABRT|SEGV)"),
    "endless": (ENDLESS, r"onnxruntime took longer than 2 s for one run of the model \(--timeout\)"),
}


@pytest.mark.parametrize(("model", "said"), SAID.values(), ids=SAID)
def test_import(tmp_path, capsys, model, said):
    path = tmp_path / "model.onnx"
    path.write_bytes(model)
    repository = tmp_path / "repository"
    command = ["import", str(path), "--name", "m", "--repository", str(repository), "--timeout", "2"]
    assert main(command) == 1
    written = capsys.readouterr()
    assert written.out == ""
    (line,) = written.err.splitlines()
    assert line.startswith("rnnserve import: ")
    assert re.search(said, line)
    assert not repository.exists()


@pytest.mark.parametrize(("model", "said"), SAID.values(), ids=SAID)
def test_check(tmp_path, capsys, model, said):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\nfrom rnnserve.export import Floats, Publication\n"
        "class Twice(nn.Module):\n    def forward(self, input):\n        return input + input\n"
        "twice = Publication(Twice(), 'twice', {'input': Floats('batch', 'sequence', ('features', 2))}, ['output'],\n"
        "                    sizes={'batch': (1, 4), 'sequence': (1, 8)})\n"
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(model)
    assert main(["check", str(path), "--against", f"{tmp_path / 'mine.py'}:twice", "--timeout", "2"]) == 1
    written = capsys.readouterr()
    assert written.err == ""
    assert re.search(said, written.out)
    assert all(
        line.startswith(("FAULT ", "the first operator that differs is not known", str(path)))
        for line in written.out.splitlines()
    )


def test_a_process_gives_the_bits_that_this_one_gives():
    rows: dict[str, np.ndarray] = {
        "input": np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32),
        "unknown": np.ones(1, np.int64),
    }
    with OnnxProcess(60.0) as process:
        there, here = OnnxRunner(TWICE, process=process), OnnxRunner(TWICE)
        assert (there.provider, there.inputs, there.outputs) == (here.provider, here.inputs, here.outputs)
        several: list[dict[str, np.ndarray]] = [rows, SAMPLE, {"input": np.asfortranarray(rows["input"])}]
        for inputs in several:
            assert there(inputs)["output"].tobytes() == here(inputs)["output"].tobytes()


def test_what_onnxruntime_refuses_there_is_raised_here_and_the_process_goes_on():
    with OnnxProcess(60.0) as process:
        with pytest.raises(RuntimeError, match=r"^onnxruntime does not take the model: "):
            OnnxRunner(b"nothing", process=process)
        runner = OnnxRunner(TWICE, process=process)
        with pytest.raises(RuntimeError, match=r"^onnxruntime does not run: .*rank"):
            runner({"input": np.ones((1, 2), np.float32)})
        assert runner(SAMPLE)["output"].shape == (2, 3, 2)
        with pytest.raises(RuntimeError, match=r"^onnxruntime runs on CPUExecutionProvider where \w+ was asked for$"):
            OnnxRunner(TWICE, providers=["NoSuchExecutionProvider", "CPUExecutionProvider"], process=process)


def test_after_the_end_of_the_process_the_reason_is_given_again_at_once():
    with OnnxProcess(60.0) as process:
        good, bad = OnnxRunner(TWICE, process=process), OnnxRunner(ABORTING, process=process)
        pid = process._process.pid
        for runner in (bad, bad, good):
            with pytest.raises(RuntimeError, match=r"^onnxruntime ended the process that ran the model, with SIG"):
                runner(SAMPLE)
    assert not Path(f"/proc/{pid}").exists()
