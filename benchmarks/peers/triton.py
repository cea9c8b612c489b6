"""Triton from PyPI: the wheel of nvidia-pytriton carries the real `tritonserver` and its Python backend.

The binary is run directly, since pytriton's own wrapper fails on some Pythons. Its ONNX Runtime backend, in C++, is in
no registry: what is measured is Triton with the Python backend calling onnxruntime, and nothing else may be claimed.
"""

import dataclasses
import os
import shutil
import sys
from pathlib import Path

from benchmarks.environments import Environment
from benchmarks.errors import Missing

__all__ = ["NOT_MEASURED", "READY", "Triton", "prepare"]

NOT_MEASURED = (
    "Triton here is its C++ front end with the Python backend calling onnxruntime, dynamic batching on; Triton's C++ "
    "ONNX Runtime backend is in no package registry and was not measured."
)

READY = r"Started GRPCInferenceService at 127\.0\.0\.1:(\d+)"
"""What it prints once its models are loaded and it answers."""

_CONFIG = """\
name: "{name}"
backend: "python"
max_batch_size: 256
input {{ name: "input" data_type: TYPE_FP32 dims: [ -1, 2 ] {ragged}}}
output {{ name: "logits" data_type: TYPE_FP32 dims: [ 2 ] }}
dynamic_batching {{ }}
parameters {{ key: "onnx" value: {{ string_value: "{onnx}" }} }}
instance_group {{ count: 1 kind: KIND_CPU }}
"""


@dataclasses.dataclass(frozen=True)
class Triton:
    """How to start it: a command and what it needs in its environment."""

    command: list[str]
    environment: dict[str, str]


def prepare(environment: Environment, folder: Path, name: str, onnx: Path, port: int, *, ragged: bool) -> Triton:
    """Write a model repository with one model, and say how to serve it.

    Args:
        environment: Holds nvidia-pytriton, onnxruntime and numpy.
        folder: Of this server alone.
        name: The model's.
        onnx: Its model.onnx.
        port: Where to listen on 127.0.0.1.
        ragged: Whether requests of different lengths may share a batch.

    Raises:
        Missing: If the wheel does not hold what it should for this Python.
    """
    site = environment.site_packages
    shipped = site / "pytriton" / "tritonserver"
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    stub = shipped / "python_backend_stubs" / python / "triton_python_backend_stub"
    binary = shipped / "bin" / "tritonserver"
    for needed in (binary, stub):
        if not needed.is_file():
            raise Missing(
                f"nvidia-pytriton holds no {needed.relative_to(site)}: Triton needs another Python, 3.9 to 3.13"
            )
    backend = folder / "backends" / "python"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(shipped / "backends" / "python", backend)
    shutil.copy2(stub, backend)
    (backend / stub.name).chmod(0o755)
    version = folder / "models" / name / "1"
    version.mkdir(parents=True)
    shutil.copy2(Path(__file__).with_name("triton_model.py"), version / "model.py")
    text = _CONFIG.format(name=name, onnx=onnx, ragged="allow_ragged_batch: true " if ragged else "")
    (version.parent / "config.pbtxt").write_text(text)
    command = [
        str(binary),
        f"--model-repository={folder / 'models'}",
        f"--backend-directory={folder / 'backends'}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={port}",
        "--allow-http=false",
        "--allow-metrics=false",
    ]
    libraries = [str(site / "nvidia_pytriton.libs"), os.environ.get("LD_LIBRARY_PATH", "")]
    return Triton(
        command,
        {
            "LD_LIBRARY_PATH": ":".join(filter(None, libraries)),
            "PATH": f"{environment.folder / 'bin'}:{os.environ.get('PATH', '')}",
            "PYTHONPATH": str(site),
        },
    )
