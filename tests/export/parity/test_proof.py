"""What is right passes, whatever the architecture, and leaves a record."""

import dataclasses
import itertools
import math

import pytest
import torch
from torch import nn

from rnnserve.export import Floats, Publication, scan
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity import OnnxRunner, parity_table, proof, prove
from rnnserve.export.parity.input_batches import input_batches
from rnnserve.export.parity.onnx_runner import PROVIDERS
from rnnserve.export.parity.tolerances import LIMITS, replay_limits

ARCHITECTURES = [
    {},
    {"num_layers": 2},
    {"cell": "rnn", "nonlinearity": "relu", "num_layers": 3, "bidirectional": True},
    {"cell": "gru", "num_layers": 2, "bidirectional": True},
    {"cell": "lstm", "num_layers": 2},
    {"cell": "lstm", "bidirectional": True, "features": 3, "hidden": 5, "classes": 4},
    {"cell": "gru", "num_layers": 3, "features": 1, "hidden": 1, "classes": 1},
]


@pytest.mark.parametrize("sizes", ARCHITECTURES, ids=str)
def test_a_right_export_is_proven(proven, sizes):
    parity = proven(**sizes)
    assert list(parity.batch_sizes) == [*range(1, 34), *([64] if sizes.get("features", 2) == 2 else [])]
    assert list(parity.lengths) == [1, 2, 3, 4, 5, 8, 13, 16, 31, 32, 33, 64, 100, 128]
    tensors = {"logits", "output", "h_n"} | ({"c_n"} if sizes.get("cell") == "lstm" else set())
    kinds = {"step", "random"} | ({"sample"} if sizes.get("features", 2) == 2 else set())
    assert {(row.input, row.tensor) for row in parity.distances} == {(k, t) for k in kinds for t in tensors}
    for row in parity.distances:
        for pair in ("onnx_from_eager", "eager_from_float64", "onnx_from_float64"):
            largest, rms = getattr(row, f"{pair}_max"), getattr(row, f"{pair}_rms")
            assert 0 <= rms <= largest < 1e-4
    assert any(row.eager_from_float64_rms > 0 for row in parity.distances)


def test_every_length_has_many_samples(subject):
    rows: dict[tuple[str, int], int] = {}
    for batch in input_batches(subject().described, 0):
        rows[batch.kind, batch.length] = rows.get((batch.kind, batch.length), 0) + batch.rows
        assert batch.rows == len(batch.inputs["lengths"])
        assert batch.inputs["lengths"].max() == batch.length
        assert batch.inputs["lengths"].min() >= 1
    assert min(rows.values()) >= 64


def test_the_record_repeats(subject, proven):
    again = dataclasses.replace(subject())  # with a reference of its own
    assert again.prove().parity == proven()
    assert subject().prove(seed=1).parity != proven()


def test_the_table_fits_a_terminal_and_has_a_line_for_each_row(proven):
    parity = proven(num_layers=2)
    lines = parity_table(parity).splitlines()
    assert max(len(line) for line in lines) <= 120
    cells = [line.split() for line in lines]
    for row in parity.distances:
        start = [
            row.input,
            row.tensor,
            str(row.length),
            f"{row.onnx_from_eager_max:.1e}",
            f"{row.onnx_from_eager_rms:.1e}",
        ]
        assert sum(line[:5] == start for line in cells) == 1
    assert all(check in lines for check in parity.checks)


def test_only_what_was_compared_is_recorded(proven):
    simple, both = proven(), proven(cell="gru", num_layers=2, bidirectional=True)
    assert any("two parts" in check for check in simple.checks)
    assert not any("two parts" in check for check in both.checks)  # the backward direction begins at the end
    plane, space = simple, proven(cell="lstm", bidirectional=True, features=3, hidden=5, classes=4)
    assert any("samples" in check for check in plane.checks)
    assert not any("samples" in check for check in space.checks)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_is_as_before(subject, threads):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        dataclasses.replace(subject()).prove()
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_a_recurrence_that_amplifies_rounding_without_end_passes_if_it_is_exported_right(chaotic):
    parity = chaotic.prove().parity
    rows = [row for row in parity.distances if (row.input, row.length) == ("random", 128)]
    assert max(row.eager_from_float64_max for row in rows) > 0.1  # float32 means nothing here, in eager either
    assert max(row.onnx_from_float64_max for row in rows) > 0.1
    steps = [row for row in parity.distances if row.input == "step"]
    assert max(row.onnx_from_eager_max for row in steps) < 1e-5
    assert any(line.startswith("random: rounding alone moves") for line in parity.amplified)


def test_rounding_that_only_loud_values_amplify_is_told():
    class Gain(nn.Module):
        """Forgets what it had by a part that the input says: of large inputs it doubles each difference many times."""

        def forward(self, x):
            def step(h, x_t):
                h = torch.sin(h * x_t * 0.1)
                return h, h

            return scan(step, torch.full_like(x[:, 0], 0.5), x, dim=1)[1]

    model = describe_model(Publication(Gain(), "gain", {"x": Floats("batch", "sequence", 3)}, ["y"]))
    parity = prove(model, None, to_onnx(model), progress=False).parity
    kinds = {line.split(":")[0] for line in parity.amplified}
    assert "long and loud" in kinds <= {"silence", "loud", "louder", "long and loud"}
    assert "\n".join(f"amplified: {line}" for line in parity.amplified) in parity_table(parity)


@pytest.mark.parametrize("sizes", ARCHITECTURES, ids=str)
def test_of_a_calm_recurrence_no_rounding_is_told(proven, sizes):
    assert list(proven(**sizes).amplified) == []


def test_limits_are_given_for_every_device():
    limits = {row.device: row for row in replay_limits()}
    assert set(limits) == {"cpu", "cuda"} == LIMITS.keys()
    for row in limits.values():
        numbers = [value for field, value in row.ListFields() if field.name != "device"]
        assert len(numbers) == len(row.DESCRIPTOR.fields) - 1
        assert all(math.isfinite(number) and number > 0 for number in numbers)
    assert limits["cpu"].walk_logits == 4e-6
    assert limits["cpu"].step_state <= limits["cuda"].step_state


@pytest.mark.parametrize("progress", [False, True])
def test_a_bar_is_shown_on_demand(subject, monkeypatch, capsys, progress):
    monkeypatch.setattr(proof, "input_batches", lambda model, seed: itertools.islice(input_batches(model, seed), 3))
    proof.prove(dataclasses.replace(subject().described, further_checks=()), None, subject().model, progress=progress)
    assert ("parity: " in capsys.readouterr().err) == progress


def test_all_that_was_compared_is_recorded(proven):
    assert list(proven().checks) == [
        "torchscript: names, shapes, dtypes, values as in eager, bit for bit",
        "onnx: names, axis names, dtypes, shapes",
        "onnx: single steps from arbitrary states, within a few ulps of eager",
        "onnx: whole random sequences, as near to float64 as eager is",
        "onnx: given samples, near eager, and as near to float64 as eager is",
        "onnx: zeros after each row's length in output",
        "onnx: labels, wherever float64 is not itself undecided",
        "tutorial: cells in a loop, layers stacked and directions composed by hand give the same",
        "tutorial: h_n is output at each row's last point, or backwards at its first: bit for bit",
        "tutorial: a sequence in two parts, states carried over, gives the same as the whole",
        "tutorial: values after a row's length change nothing, bit for bit",
    ]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_model_runs_on_the_device_whose_limits_hold(subject, monkeypatch, device):
    """With the CPU in the place of CUDA."""
    asked, made = [], []

    class Runner(OnnxRunner):
        def __init__(self, model, *, providers, process):
            made.append(tuple(providers))
            super().__init__(model, process=process)

    def limits(name):
        asked.append(name)
        return LIMITS[name]

    monkeypatch.setattr(proof, "OnnxRunner", Runner)
    monkeypatch.setattr(proof, "limits_for", limits)
    some = subject()
    found = proof.prove(some.described, None, some.model, progress=False, device=device)
    assert found.parity.samples > 0
    assert asked == [device]
    assert made == [tuple(PROVIDERS[device])]
    assert PROVIDERS[device][0] == f"{device.upper()}ExecutionProvider"
