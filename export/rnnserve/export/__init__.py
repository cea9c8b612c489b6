"""Turn a PyTorch module into a verified artifact: TorchScript, ONNX, parity, and publishing.

`publish` describes any module (`description`), exports it (`export_onnx`, `script`), verifies the results (`parity`),
makes golden cases (`golden_cases`) and publishes the version (`publishing`). `pipeline` runs these steps in order.
`scan` is a loop over steps that `export_onnx` can export. `classifiers` describes the direction classifiers, and
`verify` verifies a published version again. For ONNX files from other exporters, `file_check` compares a file with its
module, and `onnx_import` imports a file without this verification. The area imports models, protos, torch, onnx and
onnxruntime, but nothing from the server or the client.

A public name is imported when it is first used, because importing torch and onnx takes 3 to 5 seconds. Commands can
therefore report simple errors, such as a missing file, at once.

Public: `__all__`.
"""

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING, Any

from rnnserve.common.extras import missing_package

# onnxruntime 1.32 sends usage data to its vendor over HTTPS, and complains if it can't store an ID for that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from rnnserve.export.description.publication import (
        Flags,
        Floats,
        Integers,
        Lengths,
        Mask,
        Publication,
        StateTree,
    )
    from rnnserve.export.errors import (
        BrokenPostcondition,
        ExportError,
        FailedPass,
        ParityError,
        UnsupportedModule,
        WrongArguments,
    )
    from rnnserve.export.pipeline import ExportResult, publish
    from rnnserve.export.publishing import seal_with
    from rnnserve.export.recurrence import export_onnx, scan
    from rnnserve.export.torchscript import script, script_bytes

for _package in ("torch", "onnx", "onnxscript", "onnxruntime", "safetensors", "tqdm", "tabulate"):
    if importlib.util.find_spec(_package) is None:
        raise ModuleNotFoundError(f"rnnserve.export {missing_package(_package, 'export')}", name=_package)

__all__ = [
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
]

_PLACES = ("errors", "description.publication", "publishing", "torchscript", "recurrence", "pipeline")
"""The modules that define the public names. Modules with few imports come first."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    modules = (importlib.import_module(f"{__name__}.{place}") for place in _PLACES)
    found = globals()[name] = next(getattr(each, name) for each in modules if name in each.__all__)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
