"""torch's registry of translations: built once in a process, the same as a new one, and each export's own."""

import sys

import pytest
import torch
from torch import nn
from torch.onnx._internal.exporter import _registration, _schemas
from torch.onnx._internal.exporter._registration import ONNXRegistry

from rnnserve.export import export_onnx
from rnnserve.export.recurrence import translation_registry
from rnnserve.export.recurrence.translation_registry import registry_kept

APIS = vars(_registration)["onnxscript_apis"]
ORIGINAL = ONNXRegistry.__dict__["from_torchlib"]


@pytest.fixture(autouse=True)
def original_is_back():
    yield
    assert ONNXRegistry.__dict__["from_torchlib"] is ORIGINAL


@pytest.fixture
def builds(monkeypatch):
    """How often torch has asked onnxscript for its translations, as it does when it builds a registry."""
    asked = []
    ask = APIS.get_torchlib_ops

    def get_torchlib_ops():
        asked.append(None)
        return ask()

    monkeypatch.setattr(APIS, "get_torchlib_ops", get_torchlib_ops)
    monkeypatch.setattr(translation_registry, "_kept", None)
    return asked


def export():
    program = export_onnx(
        nn.GRU(3, 4, batch_first=True).eval(),
        (torch.zeros(2, 3, 3),),
        input_names=["input"],
        output_names=["output", "h_n"],
        dynamic_shapes=({0: "batch", 1: "sequence"},),
    )
    return [node.op_type for node in program.model_proto.graph.node]


def contents(registry):
    return {
        target: [(entry.onnx_function, entry.is_custom, entry.is_complex, entry.opset_introduced) for entry in entries]
        for target, entries in registry.functions.items()
    }


def test_exports_build_it_once(builds):
    assert [export() for _ in range(3)] == [export()] * 3
    assert len(builds) == 1


def test_signatures_are_read_once(monkeypatch):
    read, asked = _schemas.op_signature_from_function, []
    monkeypatch.setattr(
        _schemas, "op_signature_from_function", lambda *args, **options: asked.append(args) or read(*args, **options)
    )
    counting = _schemas.op_signature_from_function
    export()
    first = len(asked)
    assert first > 50  # the translations of this package
    export()
    assert len(asked) == first
    assert _schemas.op_signature_from_function is counting


def test_a_copy_is_what_torch_builds():
    built = ONNXRegistry.from_torchlib()
    with registry_kept():
        for copied in (ONNXRegistry.from_torchlib(), ONNXRegistry().from_torchlib(), ONNXRegistry.from_torchlib()):
            assert contents(copied) == contents(built)
            assert copied.opset_version == built.opset_version


def test_translations_for_one_opset_are_not_those_for_another():
    opsets = {opset: contents(ONNXRegistry.from_torchlib(opset_version=opset)) for opset in (18, 23, 18)}
    assert opsets[18] != opsets[23]
    with registry_kept():
        for opset in (18, 23, 18):
            assert contents(ONNXRegistry.from_torchlib(opset_version=opset)) == opsets[opset]


def test_a_translation_that_an_export_registers_is_its_own():
    target = torch.ops.aten.relu.default
    with registry_kept():
        before = contents(ONNXRegistry.from_torchlib())
        ONNXRegistry.from_torchlib().register_op(target, lambda x: x)
        assert contents(ONNXRegistry.from_torchlib()) == before


def test_operators_that_come_later_are_looked_for(builds):
    with registry_kept():
        ONNXRegistry.from_torchlib()
        with torch.library._scoped_library("rnnserve_later", "FRAGMENT") as library:
            library.define("nothing(Tensor x) -> Tensor")
            ONNXRegistry.from_torchlib()
        ONNXRegistry.from_torchlib()
    assert len(builds) == 3


def test_a_torch_that_reads_signatures_elsewhere_exports_the_same(monkeypatch):
    expected = export()
    with monkeypatch.context() as patch:
        patch.delattr(_schemas, "op_signature_from_function")
        with registry_kept():
            assert not hasattr(_schemas, "op_signature_from_function")
    monkeypatch.setitem(sys.modules, _schemas.__name__, None)
    monkeypatch.delattr(sys.modules["torch.onnx._internal.exporter"], "_schemas")
    assert export() == expected


@pytest.mark.parametrize("moved", ["module", "function"])
def test_a_torch_with_its_registry_elsewhere_builds_it_for_each_export(builds, monkeypatch, moved):
    if moved == "module":
        monkeypatch.setitem(sys.modules, _registration.__name__, None)
    else:
        monkeypatch.setattr(ONNXRegistry, "from_torchlib", ORIGINAL.__get__(None, ONNXRegistry))
    export()
    export()
    monkeypatch.undo()
    assert len(builds) == 2
