"""Triton from PyPI: the wheel of nvidia-pytriton contains `tritonserver` and its Python backend.

The benchmark starts the binary directly, because pytriton's wrapper fails with some versions of Python. Triton's ONNX
Runtime backend, in C++, isn't in any package registry. So the benchmark measures Triton with the Python backend calling
onnxruntime, and the results hold only for this combination.
"""

import dataclasses
import os
import shutil
import sys
from pathlib import Path

from benchmarks.environments import Environment
from benchmarks.errors import MissingDependency

NOT_MEASURED = (
    "Triton here is its C++ front end with the Python backend calling onnxruntime, dynamic batching on; Triton's C++ "
    "ONNX Runtime backend is in no package registry and was not measured."
)

READY_PATTERN = r"Started GRPCInferenceService at 127\.0\.0\.1:(\d+)"
"""Its output when its models are loaded and it responds. The group is its port."""

HTTP_READY_PATTERN = r"Started HTTPService at 127\.0\.0\.1:(\d+)"

_SEQUENCES = """\
output { name: "h_n" data_type: TYPE_FP32 dims: [ -1, -1 ] }
sequence_batching {
  max_sequence_idle_microseconds: 60000000
  oldest { max_candidate_sequences: 256 }
  control_input [
    { name: "START" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] },
    { name: "END" control [ { kind: CONTROL_SEQUENCE_END int32_false_true: [ 0, 1 ] } ] },
    { name: "CORRID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] }
  ]
}"""

_CONFIG = """\
name: "{name}"
backend: "python"
max_batch_size: 256
input {{ name: "input" data_type: TYPE_FP32 dims: [ -1, 2 ] {ragged}}}
output {{ name: "logits" data_type: TYPE_FP32 dims: [ 2 ] }}
{batching}
parameters {{ key: "onnx" value: {{ string_value: "{onnx}" }} }}
instance_group {{ count: 1 kind: KIND_CPU }}
"""


@dataclasses.dataclass(frozen=True)
class TritonCommand:
    """The command that starts Triton.

    Attributes:
        command: The command line.
        environment: Environment variables.
        folder: Working folder. Triton's Python backend starts a helper program through a shell, with a path that it
            does not quote. So the paths of the command line are relative to this folder, and the folder's path may have
            spaces.
    """

    command: list[str]
    environment: dict[str, str]
    folder: Path


def prepare_triton(
    environment: Environment,
    folder: Path,
    name: str,
    onnx: Path,
    port: int,
    *,
    ragged: bool = False,
    sequences: bool = False,
    http_port: int | None = None,
) -> TritonCommand:
    """Write a model repository with one model, and return the command that serves it.

    Args:
        environment: The environment with nvidia-pytriton, onnxruntime and numpy.
        folder: Folder of this server. The function writes it again.
        name: Name of the model.
        onnx: Path of its model.onnx.
        port: Port on 127.0.0.1.
        ragged: Whether requests with sequences of different lengths may share a batch.
        sequences: Whether requests are steps of sequences. Then the model keeps their states. Its responses include the
            states, as this server's do, because perf_analyzer requests all outputs of a model.
        http_port: Port for HTTP on 127.0.0.1; None for gRPC alone.

    Raises:
        MissingDependency: If the wheel lacks a file for this version of Python.
    """
    site = environment.site_packages
    wheel_files = site / "pytriton" / "tritonserver"
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    stub = wheel_files / "python_backend_stubs" / python / "triton_python_backend_stub"
    binary = wheel_files / "bin" / "tritonserver"
    for needed in (binary, stub):
        if not needed.is_file():
            raise MissingDependency(
                f"nvidia-pytriton does not contain {needed.relative_to(site)}: Triton needs another Python, 3.9 to 3.13"
            )
    backend = folder / "backends" / "python"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(wheel_files / "backends" / "python", backend)
    shutil.copy2(stub, backend)
    (backend / stub.name).chmod(0o755)
    version = folder / "models" / name / "1"
    version.mkdir(parents=True)
    source = "triton_sequence_model.py" if sequences else "triton_model.py"
    shutil.copy2(Path(__file__).with_name(source), version / "model.py")
    text = _CONFIG.format(
        name=name,
        onnx=onnx.absolute(),
        ragged="allow_ragged_batch: true " if ragged else "",
        batching=_SEQUENCES if sequences else "dynamic_batching { }",
    )
    (version.parent / "config.pbtxt").write_text(text)
    command = [
        str(binary),
        "--model-repository=models",
        "--backend-directory=backends",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={port}",
        *(["--allow-http=false"] if http_port is None else ["--http-address=127.0.0.1", f"--http-port={http_port}"]),
        "--allow-metrics=false",
    ]
    libraries = [str(site / "nvidia_pytriton.libs"), os.environ.get("LD_LIBRARY_PATH", "")]
    return TritonCommand(
        command,
        {
            "LD_LIBRARY_PATH": ":".join(filter(None, libraries)),
            "PATH": f"{environment.folder / 'bin'}:{os.environ.get('PATH', '')}",
            "PYTHONPATH": str(site),
        },
        folder,
    )
