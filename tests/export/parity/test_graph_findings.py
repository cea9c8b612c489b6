"""How what is proven of a graph and what is tried come together: in the batching mode, the manifest, and `verify`."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from kit.descriptions import tensors_described
from kit.own_modules import own_module
from rnnserve.export import Floats, Integers, Lengths, Publication, publish
from rnnserve.export.dataflow import Decision, Verdict
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.errors import ParityError
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity.batching_safety import find_batching
from rnnserve.export.parity.graph_findings import GraphFindings, contradictions, finding, walk_graph
from rnnserve.export.parity.reference import FLOAT64, MOVED
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.export.verify import verify_version
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MANIFEST, MODEL, describe_file, dump_manifest, read_version

PROVEN = Decision(Verdict.PROVEN)
REFUTED = Decision(Verdict.REFUTED, reasons=('"y": ReduceMean "m" averages over the rows of the batch',))
UNDECIDED = Decision(Verdict.NOT_DECIDED, nodes=('NonZero "n"',))


class RareToken(nn.Module):
    """One token that is drawn once in 20,000 times mixes rows."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20_000, 4)
        self.gru = nn.GRU(4, 5, batch_first=True)

    def forward(self, tokens):
        return self.gru(self.embedding(tokens))[1][0] + (tokens == 13337).any()


def test_a_rare_token_that_mixes_rows_is_found_for_all_values():
    described = {"tokens": Integers("batch", "sequence", high=20_000)}
    model = describe_model(Publication(own_module(RareToken).eval(), "rare", described, ["y"]))
    graph = walk_graph(onnx.load_model_from_string(to_onnx(model)), model.inputs, model.outputs, finite_inputs=True)
    assert graph.rows.verdict is Verdict.REFUTED
    (reason,) = graph.rows.reasons
    assert reason.startswith('"y": Reduce')
    assert reason.endswith(" the rows of the batch")


def batching(compute, rows, padding=PROVEN, exact_by=FLOAT64, moved=0.0):
    described = {"x": Floats("batch", "sequence"), "lengths": Lengths()}
    model = tensors_described(described, {"y": Floats("batch", 1)}, {"batch": (1, 33), "sequence": (1, 128)})
    calls = []

    def run(inputs):
        calls.append(inputs)
        return {"y": compute(inputs)}

    def moving(inputs):
        yield from ({"y": compute(inputs) + sign * moved} for sign in (-1, 1))

    reference: Any = SimpleNamespace(exact=run, exact_by=exact_by, moved=moving)
    found = find_batching(model, reference, limits_for("cpu"), 0, GraphFindings(rows, padding, {}))
    return found, len(calls)


def masked_sum(inputs):
    within = np.arange(inputs["x"].shape[1]) < inputs["lengths"][:, None]
    return np.where(within, inputs["x"], 0).astype(np.float64).sum(1, keepdims=True)


def with_neighbours(inputs):
    return masked_sum(inputs) + len(inputs["x"])


def unmasked_sum(inputs):
    return inputs["x"].astype(np.float64).sum(1, keepdims=True)


def test_what_is_refuted_runs_alone_without_a_trial():
    found, calls = batching(masked_sum, REFUTED)
    assert found.mode == manifest_pb2.BATCHING_ALONE
    assert list(found.reasons) == [f"{REFUTED.reasons[0]}, so that a row's answer depends on other rows"]
    assert found.rows.means == manifest_pb2.MEANS_REFUTED
    assert calls == 0


def test_what_is_proven_is_checked_by_fewer_rows():
    found, calls = batching(masked_sum, PROVEN)
    tried, more_calls = batching(masked_sum, UNDECIDED, UNDECIDED)
    assert found.mode == tried.mode == manifest_pb2.BATCHING_PADDED
    assert (found.rows.means, found.padding.means) == (manifest_pb2.MEANS_PROVEN, manifest_pb2.MEANS_PROVEN)
    assert (tried.rows.means, tried.padding.means) == (manifest_pb2.MEANS_TRIED, manifest_pb2.MEANS_TRIED)
    assert list(tried.rows.nodes) == ['NonZero "n"']
    assert 0 < calls < more_calls


@pytest.mark.parametrize(
    ("compute", "what"),
    [(with_neighbours, "keeps rows apart"), (unmasked_sum, "reads nothing after the lengths")],
)
def test_a_trial_that_contradicts_a_proof_is_an_error(compute, what):
    with pytest.raises(ParityError, match=rf'^internal error: the graph {what} for all values, but "y" of a row'):
        batching(compute, PROVEN)


def test_what_rounding_does_contradicts_nothing():
    def rounded(inputs):
        return masked_sum(inputs) + 1e-3 * (len(inputs["x"]) == 2)

    with pytest.raises(ParityError):
        batching(rounded, PROVEN, exact_by=MOVED, moved=1e-6)
    assert batching(rounded, PROVEN, exact_by=MOVED, moved=1e-4)[0].mode == manifest_pb2.BATCHING_PADDED


def test_what_is_not_decided_is_tried():
    found, _ = batching(with_neighbours, UNDECIDED)
    assert found.mode == manifest_pb2.BATCHING_ALONE
    assert found.rows.means == manifest_pb2.MEANS_TRIED
    found, _ = batching(unmasked_sum, PROVEN, UNDECIDED)
    assert found.mode == manifest_pb2.BATCHING_JOINED
    assert found.padding.means == manifest_pb2.MEANS_TRIED


def test_padding_that_is_read_may_count_for_nothing():
    """A mask that no rule recognises takes it out again: the trial decides."""
    found, _ = batching(masked_sum, PROVEN, REFUTED)
    assert found.mode == manifest_pb2.BATCHING_PADDED
    assert found.padding.means == manifest_pb2.MEANS_TRIED
    found, _ = batching(unmasked_sum, PROVEN, REFUTED)
    assert found.mode == manifest_pb2.BATCHING_JOINED
    assert found.reasons[-1] == f"in the graph, {REFUTED.reasons[0]}"


def test_what_a_manifest_claims_is_decided_again():
    claims = manifest_pb2.Manifest(
        batching=manifest_pb2.Batching(
            mode=manifest_pb2.BATCHING_PADDED,
            rows=finding(PROVEN, tried=True),
            padding=finding(PROVEN, tried=True),
            scan_rows=finding(PROVEN, tried=True),
        ),
        causality={"y": finding(PROVEN, tried=False)},
    )
    holds = GraphFindings(PROVEN, PROVEN, {"y": PROVEN})
    assert contradictions(claims, holds, scan=False) == contradictions(claims, holds, scan=True) == []
    assert len(contradictions(claims, dataclasses.replace(holds, rows=UNDECIDED), scan=False)) == 1
    assert len(contradictions(claims, dataclasses.replace(holds, padding=UNDECIDED), scan=False)) == 1
    assert len(contradictions(claims, dataclasses.replace(holds, causality={}), scan=False)) == 1
    assert len(contradictions(claims, dataclasses.replace(holds, rows=UNDECIDED), scan=True)) == 1
    old = manifest_pb2.Manifest(batching=manifest_pb2.Batching(mode=manifest_pb2.BATCHING_JOINED))
    assert contradictions(old, GraphFindings(UNDECIDED, None, {}), scan=False) == []
    (failure,) = contradictions(old, GraphFindings(REFUTED, None, {}), scan=False)
    assert failure.startswith("the manifest says BATCHING_JOINED, but rows depend on each other: ")


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(2, 4, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0]


def test_the_manifest_says_how_it_was_found_and_verify_decides_it_again(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = Small()
    inputs = {"x": Floats("batch", "sequence", 2)}
    done = publish(
        module, "small", repository=tmp_path, inputs=inputs, outputs=["y"], sizes={"sequence": (1, 16)}, progress=False
    )
    manifest = read_version(done.published.folder).manifest
    assert manifest.batching.rows.means == manifest_pb2.MEANS_PROVEN
    assert manifest.batching.scan_rows.means == manifest_pb2.MEANS_PROVEN
    assert not manifest.batching.HasField("padding")
    assert {name: each.means for name, each in manifest.causality.items()} == {"y": manifest_pb2.MEANS_PROVEN}
    checks = {check.name: check.failures for check in verify_version(done.published.folder, progress=False)}
    assert not any(checks.values())
    name = f"{MODEL}: its graph does what {MANIFEST} says for all values"
    assert name in checks

    # A file whose graph mixes rows, with the same claims.
    graph = onnx.load(done.published.folder / MODEL)
    graph.graph.node.add(op_type="CumSum", input=["mixed", "axis_0"], output=["y"])
    (own,) = [node for node in graph.graph.node if "y" in node.output and node.op_type != "CumSum"]
    own.output[list(own.output).index("y")] = "mixed"
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0), "axis_0"))
    data = graph.SerializeToString()
    (done.published.folder / MODEL).write_bytes(data)
    for number, file in enumerate(manifest.files):
        if file.name == MODEL:
            manifest.files[number].CopyFrom(describe_file(MODEL, data))
    (done.published.folder / MANIFEST).write_bytes(dump_manifest(manifest))
    checks = {check.name: check.failures for check in verify_version(done.published.folder, progress=False)}
    assert len(checks[name]) == 2
    assert "rows are apart is proven, but found refuted" in checks[name][0]
