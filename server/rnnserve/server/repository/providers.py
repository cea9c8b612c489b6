"""Where models run: `cpu`, `cuda`, or `auto`, which takes CUDA if a trial of it succeeds. No silent fallback.

onnxruntime turns a CUDA session into a CPU one if CUDA is missing (onnxruntime #23372, #17801), so the provider of
every session is compared with the one asked for. Nor may a session change its provider later. onnxruntime-gpu reports
CUDA as available wherever it is installed, with or without a GPU, so a recurrent layer is run there first.
"""

import contextlib
import ctypes
import io
import logging
import re
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime as ort

from rnnserve.server.errors import StartError, one_line

__all__ = ["choose_device", "find_cuda_fault", "new_session", "nodes_by_provider"]

_log = logging.getLogger(__name__)

_NAMES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

# A recurrent layer, since it needs cuDNN: y = RNN(x, W=x, R=x). One input is the sequence and both weights, which all
# have the shape (1, 4, 4). It is made as onnx.helper makes it, with ir_version 8 and opset 14.
_RECURRENT = (
    b'\x08\x08:d\n%\n\x01x\n\x01x\n\x01x\x12\x01y"\x03RNN*\x12\n\x0bhidden_size\x18\x04\xa0\x01\x02'
    b"\x12\x05trialZ\x17\n\x01x\x12\x12\n\x10\x08\x01\x12\x0c\n\x02\x08\x01\n\x02\x08\x04\n\x02\x08\x04"
    b"b\x1b\n\x01y\x12\x16\n\x14\x08\x01\x12\x10\n\x02\x08\x01\n\x02\x08\x01\n\x02\x08\x04\n\x02\x08\x04B\x04\n\x00\x10\x0e"
)

_CUDA_LIBRARY = Path(ort.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"

_LOG_WARNINGS, _LOG_NOTHING = 2, 4


def choose_device(provider: str) -> str:
    """Choose "cpu" or "cuda" and log why. Raise StartError if "cuda" is required but can't run here."""
    if provider == "cpu":
        return "cpu"
    available = ort.get_available_providers()
    if _NAMES["cuda"] not in available:
        lacking = f"this onnxruntime {ort.__version__} has only {', '.join(available)}"
        if provider == "cuda":
            raise StartError(
                f"provider cuda: {lacking}; install onnxruntime-gpu instead of onnxruntime, or serve with --provider "
                "cpu or auto"
            )
        _log.info("provider auto: took cpu: %s", lacking)
        return "cpu"
    fault = find_cuda_fault()
    if fault is None:
        _log.info("provider %s: took cuda, because a test of it succeeded", provider)
        return "cuda"
    if provider == "cuda":
        raise StartError(
            f"provider cuda: onnxruntime {ort.__version__} cannot use CUDA on this machine: {fault}. Correct this, or "
            "use --provider cpu or auto"
        )
    _log.warning("provider auto: took cpu: onnxruntime %s cannot use CUDA here: %s", ort.__version__, fault)
    return "cpu"


def find_cuda_fault() -> str | None:
    """Run a recurrent layer of 4 units on CUDA. Return one line about the fault, or None if it ran."""
    ort.set_default_logger_severity(_LOG_NOTHING)  # it logs a missing library too, in two long lines
    options = ort.SessionOptions()
    options.log_severity_level = _LOG_NOTHING
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        # The CUDA libraries of `pip install 'onnxruntime-gpu[cuda,cudnn]'`, which no search path contains. The function
        # prints the libraries it doesn't find.
        with contextlib.redirect_stdout(io.StringIO()):
            ort.preload_dlls()
        session = ort.InferenceSession(_RECURRENT, options, providers=[_NAMES["cuda"]], enable_fallback=0)
        session.run(None, {"x": np.full((1, 4, 4), 0.25, np.float32)})  # (sequence, batch, features)
    except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions have no common root
        failure = re.search(r"\b(?:CUDA|CUDNN|CUBLAS)\w* failure [^;\n]+", str(error))
        said = failure[0].strip() if failure else f"a recurrent layer does not run: {one_line(str(error))}"
        return _missing_library() or said
    finally:
        ort.set_default_logger_severity(_LOG_WARNINGS)  # onnxruntime's own default
    return None


def _missing_library() -> str | None:
    """Name a library of onnxruntime's CUDA provider that the dynamic linker can't find, or return None."""
    try:
        ctypes.CDLL(str(_CUDA_LIBRARY))
    except OSError as error:
        missing, found, _ = str(error).partition(": cannot open shared object file")
        if found and missing != str(_CUDA_LIBRARY):
            how = (
                "it belongs to the NVIDIA driver"
                if missing.startswith("libcuda.")
                else "`pip install 'onnxruntime-gpu[cuda,cudnn]'` installs it"
            )
            return f"{missing} is missing; {how}"
    return None


def new_session(model: bytes, device: str, threads: int = 1) -> ort.InferenceSession:
    """Make a session on a device, "cpu" or "cuda". Raise StartError if onnxruntime makes it on another device.

    With more than one thread, a kernel may divide its rows by their number, so that an answer's bits may depend on the
    other requests of its batch.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # onnxruntime also raises its errors, and the sender gets a kernel's refusal: neither needs lines in the log.
    options.log_severity_level = _LOG_NOTHING
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    wanted = [_NAMES["cpu"]] if device == "cpu" else [_NAMES[device], _NAMES["cpu"]]
    # TF32 of the tensor cores keeps ten of a float32's twenty-three bits: the golden results would not hold.
    of_each: list[dict[str, str]] = [{"use_tf32": "0"} if name == _NAMES["cuda"] else {} for name in wanted]
    session = ort.InferenceSession(model, options, providers=wanted, provider_options=of_each)
    # If a run fails on CUDA, onnxruntime's wrapper would print that, and go on with a new session on the CPU.
    session.disable_fallback()
    got = session.get_providers()
    if got[0] != wanted[0]:
        raise StartError(
            f"provider {device}: onnxruntime made a session on {', '.join(got)} instead; are the CUDA libraries that "
            f"onnxruntime {ort.__version__} needs installed? If you cannot install them, use --provider cpu or auto"
        )
    return session


def nodes_by_provider(session: ort.InferenceSession) -> dict[str, dict[str, int]]:
    """Count which nodes run where: {"CPUExecutionProvider": {"RNN": 1, "Gemm": 1, …}}."""
    counts: dict[str, Counter[str]] = {}
    for subgraph in session.get_provider_graph_assignment_info():
        ops = counts.setdefault(subgraph.ep_name, Counter())
        ops.update(node.op_type for node in subgraph.get_nodes())
    return {provider: dict(sorted(ops.items())) for provider, ops in sorted(counts.items())}
