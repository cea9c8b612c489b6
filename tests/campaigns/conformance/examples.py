"""The examples of Triton's Python client, run as they are: programs of another repository, which no package has.

They ask for the models `simple`, `simple_int8` and `simple_sequence`, which `served.py` publishes. Those of images, of
decoupled models and of tensors of text are not run: a recurrent server has no such models.
"""

import dataclasses
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from campaigns.conformance.clients import TRITON

__all__ = ["EXAMPLES", "Example", "ExampleRun", "print_examples", "run_examples"]

_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Example:
    """An example.

    Attributes:
        file: Its file.
        stops_at: What it prints last where it cannot succeed here; empty where it has to succeed.
        reason: Why it cannot succeed.
        server: The server that it asks.
    """

    file: str
    stops_at: str = ""
    reason: str = ""
    server: str = "plain"


EXAMPLES = (
    Example("simple_grpc_infer_client.py"),
    Example("simple_grpc_async_infer_client.py"),
    Example("simple_grpc_aio_infer_client.py"),
    Example("simple_grpc_sequence_sync_infer_client.py"),
    Example("simple_grpc_sequence_stream_infer_client.py"),
    Example("simple_grpc_aio_sequence_stream_infer_client.py"),
    Example("simple_grpc_keepalive_client.py"),
    Example("simple_grpc_custom_args_client.py"),
    Example("grpc_explicit_int_content_client.py"),
    Example("grpc_explicit_int8_content_client.py"),
    Example("simple_grpc_health_metadata.py", "FAILED : get_server_metadata", 'it asks for a server named "triton"'),
    Example(
        "simple_grpc_model_control.py",
        "FAILED : Repository Index",
        "it asks for a repository of eight models",
        server="explicit",
    ),
    Example("simple_grpc_shm_client.py", "shared memory is not supported", "this server has no shared memory"),
)


@dataclasses.dataclass(frozen=True)
class ExampleRun:
    """What came of an example.

    Attributes:
        example: The example.
        holds: Whether it succeeded, or stopped where it has to.
        words: The last line that it printed.
    """

    example: Example
    holds: bool
    words: str


def run_examples(folder: Path, plan: Path) -> list[ExampleRun]:
    """Run the examples in tritonclient's environment, which has to be there.

    Args:
        folder: `src/python/examples` of a checkout of triton-inference-server/client.
        plan: From `served.serve_all`.
    """
    servers = json.loads(plan.read_text())["servers"]
    runs = []
    for example in EXAMPLES:
        command = [str(TRITON.python), str(folder / example.file), "-u", servers[example.server]]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
        printed = done.stdout + done.stderr
        holds = (done.returncode != 0) == bool(example.stops_at) and example.stops_at in printed
        runs.append(ExampleRun(example, holds, (printed.strip().splitlines() or ["nothing"])[-1]))
    return runs


def print_examples(by_transport: Mapping[str, Sequence[ExampleRun]]) -> None:
    """Print what came of the examples, a line each.

    Args:
        by_transport: What `run_examples` returned.
    """
    for transport, runs in by_transport.items():
        for run in runs:
            if not run.holds:
                came = f"FAILED: {run.words}"
            elif run.example.stops_at:
                came = f"stops at {run.example.stops_at!r}: {run.example.reason}"
            else:
                came = "works"
            print(f"{run.example.file}, {transport}: {came}")
