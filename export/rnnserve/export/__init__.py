"""From a module to a proven artifact: TorchScript, ONNX, parity, and publishing.

`publish` describes any module (`description`), exports it (`export_onnx`, `script`), proves the results (`parity`),
makes golden cases (`golden_cases`) and publishes the version (`publishing`); `pipeline` is the order of it. `scan` is a
loop over steps that `export_onnx` can export. `classifiers` describes the direction classifiers; `verify` proves a
published version again. Files that others exported are compared with their modules by `file_check`, and published
without a proof by `adoption`. The area imports models, protos, torch, onnx and onnxruntime, and nothing of the server
or the client.

A public name is imported when it is first used: torch and onnx take 3 to 5 seconds, and the commands tell mistakes that
can be seen without them, such as a file that does not exist, at once.

Door: `__all__`.
"""

import importlib
import importlib.util
import os
from typing import TYPE_CHECKING, Any

from rnnserve.common.extras import missing_package
from rnnserve.common.lasting_imports import rare_collections

# onnxruntime 1.32 reports its use to its maker, over HTTPS, and complains where it cannot keep an id for that.
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
"""The modules that have the public names, those that import little first."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with rare_collections():
        modules = (importlib.import_module(f"{__name__}.{place}") for place in _PLACES)
        found = globals()[name] = next(getattr(each, name) for each in modules if name in each.__all__)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
