"""Names of `rnnserve.export` that other people's code uses: removing one is a breaking change."""

from rnnserve import export
from rnnserve.export import errors

USED = {
    "BrokenPostcondition", "ExportError", "ExportResult", "FailedPass", "Flags", "Floats", "Integers", "Lengths",
    "Mask", "ParityError", "Publication", "StateTree", "UnsupportedModule", "WrongArguments", "export_onnx",
    "publish", "scan", "script", "script_bytes", "seal_with",
}  # fmt: skip


def test_public_names_stay():
    assert set(export.__all__) >= USED
    assert all(hasattr(export, name) for name in export.__all__)


def test_every_error_has_one_root():
    assert all(issubclass(getattr(errors, name), export.ExportError) for name in errors.__all__)
    assert export.ExportError.__bases__ == (Exception,)
