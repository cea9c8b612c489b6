"""What the packages of this area export: other people's code uses these names."""

import importlib

import pytest

from rnnserve.export import ExportError

EXPORTED = {
    "rnnserve.export": [
        "BrokenPostcondition",
        "ExportError",
        "ExportResult",
        "FailedPass",
        "Flags",
        "Floats",
        "Integers",
        "Lengths",
        "Mask",
        "ParityError",
        "Publication",
        "StateTree",
        "UnsupportedModule",
        "WrongArguments",
        "export_onnx",
        "publish",
        "scan",
        "script",
        "script_bytes",
        "seal_with",
    ],
    "rnnserve.export.commands": None,
    "rnnserve.export.parity": [
        "ONNX_REFERENCE",
        "RUN_SECONDS",
        "OnnxProcess",
        "OnnxRunner",
        "ParityError",
        "Proof",
        "Reference",
        "parity_summary",
        "parity_table",
        "prove",
    ],
    "rnnserve.export.recurrence": ["export_onnx", "scan"],
}


@pytest.mark.parametrize("package", EXPORTED)
def test_exported_names(package):
    module = importlib.import_module(package)
    assert getattr(module, "__all__", None) == EXPORTED[package]
    assert all(hasattr(module, name) for name in EXPORTED[package] or ())


def test_every_error_has_one_root():
    errors = importlib.import_module("rnnserve.export.errors")
    assert errors.__all__ == [
        "BrokenPostcondition",
        "ExportError",
        "FailedPass",
        "ParityError",
        "PublishingFailed",
        "UnsupportedModule",
        "WrongArguments",
    ]
    assert all(issubclass(getattr(errors, name), ExportError) for name in errors.__all__)
    assert ExportError.__bases__ == (Exception,)
