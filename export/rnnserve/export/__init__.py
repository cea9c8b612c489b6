"""From a module to a proven artifact: TorchScript, ONNX, parity, and publishing.

`export_onnx` and `script_bytes` take any module; `scan` is a loop over steps that `export_onnx` can export. `pipeline`
exports a checkpoint: it runs both, proves the results (`parity`), makes golden cases (`golden_cases`) and publishes the
version (`publish`); `verify` proves a published version again. The area imports models, protos, torch, onnx and
onnxruntime, and nothing of the server or the client.
"""

try:
    from rnnserve.export.errors import BrokenPostcondition, ExportError, UnsupportedModule, WrongArguments
    from rnnserve.export.recurrence import export_onnx, scan
    from rnnserve.export.torchscript import script, script_bytes
except ModuleNotFoundError as error:
    if error.name is None or error.name.startswith("rnnserve"):
        raise
    raise ModuleNotFoundError(
        f"rnnserve.export needs {error.name}: pip install 'rnnserve[export]'", name=error.name
    ) from None

__all__ = [
    "BrokenPostcondition",
    "ExportError",
    "UnsupportedModule",
    "WrongArguments",
    "export_onnx",
    "scan",
    "script",
    "script_bytes",
]
