"""Findings of a real graph: batching modes of whole modules, and verification that decides them again."""

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kit.own_modules import own_module
from rnnserve.export import Floats, Lengths, Publication, publish
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.parity.batching_safety import find_batching
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.export.parity.verification import reference_of
from rnnserve.export.verify import verify_version
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MANIFEST, MODEL, describe_file, dump_manifest, read_version


class Subsampled(nn.Module):
    """Gives half as many steps as it takes. Those after the last hold the bias of its head."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(2, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x, lengths):
        halves = (lengths + 1) // 2
        packed = pack_padded_sequence(x[:, ::2], halves, batch_first=True, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=(x.size(1) + 1) // 2)
        scores = self.head(output)
        return nn.functional.pad(scores, (0, 0, 0, x.size(1) - scores.size(1)))


class MaskedSubsampled(Subsampled):
    def forward(self, x, lengths):
        halves = (lengths + 1) // 2
        return super().forward(x, lengths) * (torch.arange(x.size(1)) < halves[:, None])[..., None]


def batching(kind):
    inputs = {"x": Floats("batch", "sequence", 2), "lengths": Lengths()}
    model = describe_model(Publication(own_module(kind).eval(), "model", inputs, ["y"]))
    return find_batching(model, reference_of(model), limits_for("cpu"), 0)


def test_output_of_fewer_steps_must_be_zero_after_them():
    assert batching(MaskedSubsampled).mode == manifest_pb2.BATCHING_PADDED
    (reason,) = batching(Subsampled).reasons
    assert reason.endswith("An output with fewer steps than its input must be zero after them")


def test_verify_decides_the_claims_of_a_manifest_again(tmp_path):
    torch.manual_seed(1)
    inputs, sizes = {"input": Floats("batch", "sequence", 2)}, {"sequence": (1, 16)}
    module = nn.RNN(2, 4, batch_first=True)
    done = publish(
        module, "small", repository=tmp_path, inputs=inputs, outputs=["y", "h_n"], sizes=sizes, progress=False
    )
    folder = done.published.folder
    manifest = read_version(folder).manifest
    assert manifest.batching.rows.means == manifest.batching.scan_rows.means == manifest_pb2.MEANS_PROVEN
    assert not manifest.batching.HasField("padding")
    assert manifest.causality["y"].means == manifest_pb2.MEANS_PROVEN

    # A file whose graph mixes rows, with the same claims.
    graph = onnx.load(folder / MODEL)
    graph.graph.node.add(op_type="CumSum", input=["mixed", "axis_0"], output=["y"])
    (own,) = [node for node in graph.graph.node if "y" in node.output and node.op_type != "CumSum"]
    own.output[list(own.output).index("y")] = "mixed"
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0), "axis_0"))
    data = graph.SerializeToString()
    (folder / MODEL).write_bytes(data)
    (described,) = (file for file in manifest.files if file.name == MODEL)
    described.CopyFrom(describe_file(MODEL, data))
    (folder / MANIFEST).write_bytes(dump_manifest(manifest))
    checks = {check.name: check.failures for check in verify_version(folder, progress=False)}
    failures = checks[f"{MODEL}: its graph has the properties that {MANIFEST} records as proven"]
    assert "rows are apart is proven, but found refuted" in failures[0]
