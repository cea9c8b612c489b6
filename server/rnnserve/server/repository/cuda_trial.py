"""A trial of CUDA on this machine: whether a recurrent layer runs there, and if not, what is missing.

onnxruntime-gpu reports CUDA as available wherever it is installed, with or without a GPU.
"""

import contextlib
import ctypes
import io
import re
from pathlib import Path

import numpy as np
import onnxruntime as ort

__all__ = ["find_cuda_fault"]

# A recurrent layer, since it needs cuDNN: y = RNN(x, W=x, R=x). One input is the sequence and both weights, which all
# have the shape (1, 4, 4). tests/server/repository/test_cuda_trial.py has the code that makes it, with onnx.
_MODEL = (
    b'\x08\x08:d\n%\n\x01x\n\x01x\n\x01x\x12\x01y"\x03RNN*\x12\n\x0bhidden_size\x18\x04\xa0\x01\x02'
    b"\x12\x05trialZ\x17\n\x01x\x12\x12\n\x10\x08\x01\x12\x0c\n\x02\x08\x01\n\x02\x08\x04\n\x02\x08\x04"
    b"b\x1b\n\x01y\x12\x16\n\x14\x08\x01\x12\x10\n\x02\x08\x01\n\x02\x08\x01\n\x02\x08\x04\n\x02\x08\x04B\x04\n\x00\x10\x0e"
)

_LIBRARY = Path(ort.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"

_LOG_WARNINGS, _LOG_NOTHING = 2, 4


def find_cuda_fault() -> str | None:
    """Run a recurrent layer of 4 hidden units on CUDA.

    Returns:
        None if it ran, else what is missing, as one line for the log.
    """
    ort.set_default_logger_severity(_LOG_NOTHING)  # it logs a missing library too, in two long lines
    try:
        _preload_libraries()
        _run_trial()
    except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions have no common root
        return _find_missing_library() or _shorten(str(error))
    finally:
        ort.set_default_logger_severity(_LOG_WARNINGS)  # onnxruntime's own default
    return None


def _preload_libraries() -> None:
    """Load the CUDA libraries of `pip install 'onnxruntime-gpu[cuda,cudnn]'`, which no search path contains."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find; `_find_missing_library` tells it
        ort.preload_dlls()


def _run_trial() -> None:
    options = ort.SessionOptions()
    options.log_severity_level = _LOG_NOTHING
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = ort.InferenceSession(_MODEL, options, providers=["CUDAExecutionProvider"], enable_fallback=0)
    session.run(None, {"x": np.full((1, 4, 4), 0.25, np.float32)})  # (sequence, batch, features)


def _find_missing_library() -> str | None:
    """Load the library of onnxruntime's CUDA provider; return what the dynamic linker does not find, if anything."""
    try:
        ctypes.CDLL(str(_LIBRARY))
    except OSError as error:
        missing, found, _ = str(error).partition(": cannot open shared object file")
        if found and missing != str(_LIBRARY):
            source = (
                "it belongs to the NVIDIA driver"
                if missing.startswith("libcuda.")
                else "`pip install 'onnxruntime-gpu[cuda,cudnn]'` installs it"
            )
            return f"{missing} is missing; {source}"
    return None


def _shorten(message: str) -> str:
    """Reduce a message of onnxruntime to what CUDA said: the rest is C++ signatures and the name of the host."""
    if "assigned to the default CPU EP" in message:
        return "it runs no recurrent layer; is cuDNN installed?"
    failure = re.search(r"\b(?:CUDA|CUDNN|CUBLAS)\w* failure [^;\n]+", message)
    return failure[0].strip() if failure else " ".join(message.split())
