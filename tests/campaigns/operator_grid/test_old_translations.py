"""`rnnserve verify` finds versions whose graph was made by torch's optimizer, or by its unstable translations."""

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rnnserve.export import Floats, export_onnx, publish, script
from rnnserve.export.old_translations import old_translations
from rnnserve.export.recurrence.decomposition_tables import decompositions_kept
from rnnserve.export.recurrence.exporter_metadata import TRANSLATED_BY
from rnnserve.export.recurrence.passes import ON_GRAPH
from rnnserve.export.recurrence.translation_registry import registry_kept
from rnnserve.export.verify import verify_version
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MANIFEST, MODEL, SCRIPT, describe_file, dump_manifest, read_version

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class Silence(nn.Module):
    """The logarithm of a spectrogram before a GRU: of a silent frame it is that of the constant."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 6, batch_first=True)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        return self.gru(torch.log(mel.abs() + 1e-10))[0]


class Small(nn.Module):
    """One computation of x (batch, features)."""

    def __init__(self, compute):
        super().__init__()
        self.compute = compute

    def forward(self, x):
        return self.compute(x)


def by_torch(module, sample):
    """Export by torch alone, its optimizer included. From its own tables, which are built once for all tests."""
    with registry_kept(), decompositions_kept():
        program = torch.onnx.export(
            module.eval(), (sample,), dynamo=True, verbose=False, input_names=["x"], output_names=["y"],
            dynamic_shapes=({0: "batch"},),
        )  # fmt: skip
    return program.model_proto.SerializeToString()


def _exported_before(module, monkeypatch):
    """Export a recurrent module as it was exported before: with torch's optimizer, and without a mark."""
    export = torch.onnx.export
    with monkeypatch.context() as before:
        before.setattr(torch.onnx, "export", lambda *args, **options: export(*args, **{**options, "optimize": True}))
        unmarked = [each for each in ON_GRAPH if each.name != "mark_translations"]
        before.setattr("rnnserve.export.recurrence.export.ON_GRAPH", unmarked)
        program = export_onnx(
            module, (torch.randn(3, 5, 4),), input_names=["mel"], output_names=["y"],
            dynamic_shapes=({0: "batch", 1: "sequence"},),
        )  # fmt: skip
    return program.model_proto.SerializeToString()


def _attention(x, seen):
    """Of x (batch, 4): two queries, keys and values of two features."""
    heads = x.view(-1, 1, 2, 2)
    return F.scaled_dot_product_attention(heads, heads, heads, attn_mask=seen.view(-1, 1, 2, 2)).flatten(1)


_WRONG = {
    "CumSum": lambda x: x.logcumsumexp(1),
    "Sigmoid": F.logsigmoid,
    "two Exp": lambda x: torch.logaddexp(x, -x),
    "Softplus": lambda x: torch.log(F.softplus(x) + 1e-10),
    "InstanceNormalization": lambda x: F.instance_norm(x[:, None]),
    "Resize": lambda x: F.interpolate(x[:, None], size=3),
    "divides by a Sqrt": lambda x: x / (x.std(1, keepdim=True) + 1e-9),
    "divides by a ReduceL2": lambda x: x / (x.norm(dim=1, keepdim=True) + 1e-8),
    "a mask hides all": lambda x: _attention(x, x > 0),
}


@pytest.mark.parametrize(("words", "compute"), _WRONG.items(), ids=_WRONG)
def test_the_graph_alone_shows_it(words, compute):
    module, x = Small(compute), torch.randn(3, 4)
    (found,) = old_translations(by_torch(module, x), None)
    assert words in found
    assert found.endswith("publish it again")
    today = export_onnx(module.eval(), (x,), input_names=["x"], output_names=["y"], dynamic_shapes=({0: "batch"},))
    assert not list(old_translations(today.model_proto.SerializeToString(), None))


def test_attention_that_sees_nothing_is_found_in_graphs_with_a_mark():
    model = onnx.load_model_from_string(by_torch(Small(_WRONG["a mask hides all"]), torch.randn(3, 4)))
    model.metadata_props.add(key=TRANSLATED_BY, value="x")
    (found,) = old_translations(model.SerializeToString(), None)
    assert "a mask hides all" in found


_RIGHT = [
    lambda x: _attention(x, (x > 0).float() * -1e9),
    lambda x: torch.softmax(x + torch.where(x > 0, 0.0, torch.finfo(torch.float32).min), -1),
    lambda x: x / (x.norm(dim=1, keepdim=True) + 1e-3),
    lambda x: F.normalize(x, dim=1),
    lambda x: torch.log(F.softplus(x) + 1e-5),
    lambda x: torch.log(x.exp() + 1.0),
    lambda x: x.log_softmax(1) + torch.sigmoid(x),
]


@pytest.mark.parametrize("compute", _RIGHT, ids=range(len(_RIGHT)))
def test_graphs_that_hold_their_constants_are_left_alone(compute):
    assert not list(old_translations(by_torch(Small(compute), torch.randn(3, 4)), None))


def test_verify_names_the_version_and_says_what_to_do(tmp_path, monkeypatch):
    module = Silence().eval()
    publish(
        module, "silence", repository=tmp_path, inputs={"mel": Floats("batch", "sequence", 4)}, outputs=["y"],
        progress=False,
    )  # fmt: skip
    version = tmp_path / "silence" / "1"
    assert not [check for check in verify_version(version, progress=False) if check.failures]

    def replace(model):
        held = read_version(version)
        manifest = manifest_pb2.Manifest()
        manifest.CopyFrom(held.manifest)
        (version / MODEL).write_bytes(model)
        for file in manifest.files:
            if file.name == MODEL:
                file.CopyFrom(describe_file(MODEL, model))
        (version / MANIFEST).write_bytes(dump_manifest(manifest))

    replace(_exported_before(module, monkeypatch))
    failures = [line for check in verify_version(version, progress=False) for line in check.failures]
    assert any("1e-10" in line and line.endswith("publish it again") for line in failures)
    assert SCRIPT in read_version(version).files


def test_a_script_names_the_constant():
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * 1.0000001 - 1e-9) / (x.abs() + 1e-3)

    graph = by_torch(Scaled(), torch.randn(3, 4))
    found = list(old_translations(graph, script(Scaled())))
    assert [np.format_float_positional(number) in " ".join(found) or f"{number:g}" in " ".join(found)
            for number in (1e-9, 1.0000001)] == [True, True]  # fmt: skip
    assert not any("0.001" in line for line in found)
