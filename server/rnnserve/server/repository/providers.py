"""Where models run: `cpu`, `cuda`, or `auto`, which takes CUDA where a trial of it succeeds. No silent fallback.

onnxruntime turns a CUDA session into a CPU one where CUDA is missing (onnxruntime #23372, #17801), so the provider of
every session is compared with the one asked for. Nor may a session change its provider later.
"""

import logging
from collections import Counter
from collections.abc import Mapping

import onnxruntime as ort

from rnnserve.protos.artifact import ArtifactError
from rnnserve.server.errors import StartError, one_line
from rnnserve.server.repository.cuda_trial import find_cuda_fault

__all__ = ["choose_device", "new_session", "nodes_by_provider", "session_of"]

_log = logging.getLogger(__name__)

_NAMES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def choose_device(provider: str) -> str:
    """Turn a provider, "cpu", "cuda" or "auto", into the device "cpu" or "cuda", and log which one and why.

    Raises:
        StartError: `cuda` is asked for, and cannot run here.
    """
    if provider == "cpu":
        return "cpu"
    available = ort.get_available_providers()
    if _NAMES["cuda"] not in available:
        lacking = f"this onnxruntime {ort.__version__} has only {', '.join(available)}"
        if provider == "cuda":
            raise StartError(
                f"provider cuda: {lacking}; install onnxruntime-gpu in place of onnxruntime, or serve with --provider "
                "cpu or auto"
            )
        _log.info("provider auto: took cpu: %s", lacking)
        return "cpu"
    fault = find_cuda_fault()
    if fault is None:
        _log.info("provider %s: took cuda: a trial of it succeeded", provider)
        return "cuda"
    if provider == "cuda":
        raise StartError(
            f"provider cuda: onnxruntime {ort.__version__} cannot use CUDA here: {fault}. Otherwise serve with "
            "--provider cpu or auto"
        )
    _log.warning("provider auto: took cpu: onnxruntime %s cannot use CUDA here: %s", ort.__version__, fault)
    return "cpu"


def new_session(model: bytes, device: str, threads: int = 1) -> ort.InferenceSession:
    """Make a session on a device, "cpu" or "cuda".

    Args:
        model: The file.
        device: The device that runs it.
        threads: Threads of each run. With more than one, a kernel may divide its rows by their number, so that an
            answer's bits may depend on the other requests of its batch (docs/lab/findings.md, "Even rows").

    Raises:
        StartError: If the session was made on another device than asked.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Errors are raised as well, and what a kernel refuses is told to the sender: neither needs lines in the log.
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    wanted = [_NAMES["cpu"]] if device == "cpu" else [_NAMES[device], _NAMES["cpu"]]
    # TF32 of the tensor cores keeps ten of a float32's twenty-three bits: the golden results would not hold.
    of_each: list[dict[str, str]] = [{"use_tf32": "0"} if name == _NAMES["cuda"] else {} for name in wanted]
    session = ort.InferenceSession(model, options, providers=wanted, provider_options=of_each)
    # Where a run fails on CUDA, onnxruntime's wrapper would print that, and go on with a new session on the CPU.
    session.disable_fallback()
    got = session.get_providers()
    if got[0] != wanted[0]:
        raise StartError(
            f"provider {device}: onnxruntime made a session on {', '.join(got)} instead; are the CUDA libraries that "
            f"onnxruntime {ort.__version__} needs installed? Serve with --provider cpu or auto otherwise"
        )
    return session


def nodes_by_provider(session: ort.InferenceSession) -> dict[str, dict[str, int]]:
    """Say which nodes run where: {"CPUExecutionProvider": {"RNN": 1, "Gemm": 1, …}}."""
    counts: dict[str, Counter[str]] = {}
    for subgraph in session.get_provider_graph_assignment_info():
        ops = counts.setdefault(subgraph.ep_name, Counter())
        ops.update(node.op_type for node in subgraph.get_nodes())
    return {provider: dict(sorted(ops.items())) for provider, ops in sorted(counts.items())}


def session_of(files: Mapping[str, bytes], file: str, device: str, threads: int) -> ort.InferenceSession:
    """Make a session of a version's file, as `new_session` does.

    Args:
        files: Files of the version, by name.
        file: Name of the graph.
        device: The device that runs it.
        threads: Threads of each run.

    Raises:
        ArtifactError: If onnxruntime does not take it.
        StartError: If the session was made on another device than asked.
    """
    try:
        return new_session(files[file], device, threads)
    except StartError:
        raise
    except Exception as error:
        raise ArtifactError(f"{file}: onnxruntime cannot load it: {one_line(str(error))}") from error
