"""What has to be installed and attached: everything that is missing, before anything is tried.

onnxruntime and onnxruntime-gpu are two distributions of one package, `onnxruntime`: installed beside each other, the
one that was installed last has overwritten files of the other (onnxruntime #26996).
"""

import importlib.metadata
import importlib.util

from benchmarks.errors import MissingDependency

__all__ = ["check_requirements", "find_faults"]

_MODULES = {
    "rnnserve": "rnnserve",
    "torch": "torch",
    "onnx": "onnx",
    "onnxscript": "onnxscript",
    "grpc": "grpcio",
    "tqdm": "tqdm",
    "safetensors": "safetensors",
    "cryptography": "cryptography",
}
"""What the steps import, and the distribution that has it."""

_INSTEAD = (
    "run `pip uninstall onnxruntime onnxruntime-gpu`, then `pip install 'onnxruntime-gpu[cuda,cudnn]'`: one in place "
    "of the other"
)


def check_requirements(*, needs_cuda: bool) -> None:
    """Refuse to go on where something is missing.

    Args:
        needs_cuda: Whether CUDA is needed, or only the packages.

    Raises:
        MissingDependency: If anything is missing; one line that names all of it.
    """
    faults = find_faults(needs_cuda=needs_cuda)
    if faults:
        raise MissingDependency("; ".join(faults))


def find_faults(*, needs_cuda: bool) -> list[str]:
    """List what is missing, a phrase each; empty if nothing is."""
    missing = [name for module, name in _MODULES.items() if importlib.util.find_spec(module) is None]
    faults = [f"not installed: {', '.join(missing)} (docs/operate/gpu.md says how)"] if missing else []
    if importlib.util.find_spec("onnxruntime") is None:
        return [*faults, "not installed: onnxruntime-gpu (`pip install 'onnxruntime-gpu[cuda,cudnn]'`)"]
    if {"onnxruntime", "onnxruntime-gpu"} <= _distributions():
        return [*faults, f"onnxruntime and onnxruntime-gpu are installed beside each other: {_INSTEAD}"]
    if needs_cuda and "rnnserve" not in missing:
        fault = _find_cuda_fault()
        faults += [fault] if fault else []
    return faults


def _distributions() -> set[str]:
    names = (distribution.metadata["Name"] for distribution in importlib.metadata.distributions())
    return {name.lower().replace("_", "-") for name in names if name}


def _find_cuda_fault() -> str | None:
    import onnxruntime

    from rnnserve.server.repository.providers import find_cuda_fault

    available = onnxruntime.get_available_providers()
    if "CUDAExecutionProvider" not in available:
        return f"this onnxruntime {onnxruntime.__version__} has only {', '.join(available)}: {_INSTEAD}"
    fault = find_cuda_fault()
    return None if fault is None else f"no CUDA device that onnxruntime {onnxruntime.__version__} can use: {fault}"
