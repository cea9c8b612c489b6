"""Verdicts about nodes; and every step for real, with the CPU in the place of CUDA."""

import pytest

from benchmarks.gpu import proving, serving
from benchmarks.gpu.proving import REPOSITORY, Subject, place_nodes
from benchmarks.gpu.rows import FAILED, HELD, MEASURED
from rnnserve.export.parity import batches
from rnnserve.models import Architecture

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
TANH, RELU = Subject("rnn", Architecture()), Subject("relu", Architecture(nonlinearity="relu"), falls_back=True)


@pytest.mark.parametrize(
    ("subject", "nodes", "verdict", "note"),
    [
        (TANH, {CUDA: {"RNN": 1, "Gemm": 2}}, HELD, "none fell back"),
        (TANH, {CUDA: {"RNN": 1}, CPU: {"Gather": 3, "Concat": 1}}, HELD, "on the CPU: 1 Concat, 3 Gather"),
        (TANH, {CUDA: {"Gemm": 1}, CPU: {"RNN": 1}}, FAILED, "on the CPU: 1 RNN"),
        (RELU, {CUDA: {"Gemm": 1}, CPU: {"RNN": 1}}, HELD, "on the CPU: 1 RNN"),
        (
            RELU,
            {CUDA: {"RNN": 1}},
            FAILED,
            "none fell back; onnxruntime's RNN does",
        ),
    ],
)
def test_recurrent_operators_run_on_the_known_devices(subject, nodes, verdict, note):
    row = place_nodes(subject, "cuda", nodes)
    assert (row.verdict, row.note) == (verdict, note)
    assert (row.cpu, row.cuda) == (sum(nodes.get(CPU, {}).values()), sum(nodes[CUDA].values()))


def test_rehearsal_of_all_steps_reports_values(tmp_path, monkeypatch):
    subjects = (Subject("small", Architecture(cell="gru", hidden=3)), Subject("missing", Architecture()))
    monkeypatch.setattr(proving, "SUBJECTS", subjects[:1])
    monkeypatch.setattr(batches, "_LENGTHS", (2, 5))
    stale = tmp_path / REPOSITORY / "missing" / "1"  # of an earlier run
    stale.mkdir(parents=True)
    (published,) = proving.publish_models(tmp_path, "cpu")
    assert (published.verdict, published.note) == (HELD, "version 1")
    for module in (proving, serving):
        monkeypatch.setattr(module, "SUBJECTS", subjects)
    found = {
        step.__name__: list(step(tmp_path, "cpu"))
        for step in (proving.list_nodes, proving.replay_golden, proving.prove_models, serving.serve_models)
    }
    for step, rows in found.items():
        *rows, missing = rows
        assert {row.verdict for row in rows} <= {HELD, MEASURED}, (step, rows)
        assert {row.subject for row in rows} == {"small"}
        assert missing.verdict == FAILED  # and hid nothing
        assert "the model was not published: see the step publish" in missing.note
        assert rows[0].verdict == HELD
    distances = [row for row in found["prove_models"] if row.verdict == MEASURED]
    assert [row.what for row in distances] == ["step: from eager", "sample: from eager"]
    assert all(row.cpu == row.cuda <= row.limit for row in distances)
