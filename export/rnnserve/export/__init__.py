"""From a module to a proven artifact: TorchScript, ONNX, parity, and publishing.

`publish` describes any module (`descriptions`, `publication`), exports it (`export_onnx`, `script`), proves the results
(`parity`), makes golden cases (`golden_cases`) and publishes the version (`publishing`); `pipeline` is the order of it.
`scan` is a loop over steps that `export_onnx` can export. `classifiers` describes the direction classifiers; `verify`
proves a published version again. Files that others exported are compared with their modules by `diagnosis`, and
published without a proof by `adoption`. The area imports models, protos, torch, onnx and onnxruntime, and nothing of
the server or the client.
"""

import os

# onnxruntime 1.32 reports its use to its maker, over HTTPS, and complains where it cannot keep an id for that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

try:
    from rnnserve.export.descriptions import Flags, Floats, Integers, Lengths
    from rnnserve.export.errors import BrokenPostcondition, ExportError, ParityError, UnsupportedModule, WrongArguments
    from rnnserve.export.pipeline import ExportResult, publish
    from rnnserve.export.publication import Publication
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
    "ExportResult",
    "Flags",
    "Floats",
    "Integers",
    "Lengths",
    "ParityError",
    "Publication",
    "UnsupportedModule",
    "WrongArguments",
    "export_onnx",
    "publish",
    "scan",
    "script",
    "script_bytes",
]
