"""torch's registry of translations: built once in a process, the same as a new one, and each export's own."""

import sys

import pytest
import torch
from onnxscript._internal import ast_utils
from onnxscript.function_libs.torch_lib import registration
from onnxscript.values import TracedOnnxFunction
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


def test_no_source_is_parsed_to_build_it(builds, monkeypatch):
    before = export()
    parsed = []
    read, parse = _schemas.op_signature_from_function, ast_utils.get_src_and_ast
    monkeypatch.setattr(
        _schemas, "op_signature_from_function", lambda *args, **options: parsed.append(args) or read(*args, **options)
    )
    monkeypatch.setattr(ast_utils, "get_src_and_ast", lambda *args: parsed.append(args) or parse(*args))
    ONNXRegistry.from_torchlib()
    assert len(parsed) > 500
    parsed.clear()
    monkeypatch.setattr(translation_registry, "_kept", None)
    assert export() == before
    assert not parsed
    assert len(builds) == 3


def test_what_is_said_of_functions_that_are_not_parsed_is_so():
    traced = [
        function
        for functions in registration.default_registry.values()
        for function in (*functions.overloads, *functions.complex)
        if isinstance(function, TracedOnnxFunction)
    ]
    parsed = [function.function_ir for function in traced]
    with registry_kept():
        unparsed = [function.function_ir for function in traced]
        assert not {*map(type, unparsed)} & {*map(type, parsed)}
    assert [each.domain for each in unparsed] == [each.domain for each in parsed]
    assert unparsed[0].name == parsed[0].name
    assert len(traced) > 400
    assert traced[0].function_ir.__class__ is parsed[0].__class__


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


def test_a_torch_and_an_onnxscript_that_parse_elsewhere_export_the_same(builds, monkeypatch):
    expected = export()

    class Derived(_registration.OnnxDecompMeta):
        """Reads signatures by a method that it has from elsewhere."""

    monkeypatch.setattr(_registration, "OnnxDecompMeta", Derived)
    monkeypatch.setitem(sys.modules, "onnxscript.values", None)
    monkeypatch.setattr(translation_registry, "_kept", None)
    assert export() == expected
    assert len(builds) == 2


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
