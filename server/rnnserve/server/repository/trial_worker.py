"""The process that tries versions: `python -m rnnserve.server.repository.trial_worker`, started by `trials`.

Its first request is the name of the device, to get ready for. Each further one is a JSON object with the arguments of
`try_out`. The answer is one, too: {"findings": …} for a version that may serve; {"refused": "why", "traceback": "…"}
for another; {"start_error": "why"} where no version can be tried.
"""

import json
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rnnserve.common.guarded_work import answer_requests, limit_memory, limit_processor_seconds
from rnnserve.protos.artifact import GOLDEN, MODEL, SCAN, ArtifactError
from rnnserve.server.errors import StartError, is_of_memory, one_line
from rnnserve.server.repository.cost_measurement import ROUNDS
from rnnserve.server.repository.cuda_trial import find_cuda_fault
from rnnserve.server.repository.load_version import try_version

__all__ = ["FILE_COPIES", "main", "try_out"]

FILE_COPIES = 8
"""How often a model's bytes may be in memory while it is loaded: as read, as given to onnxruntime, parsed, as tensors,
and rearranged for its kernels, with arrays that grow by doubling."""

_PROCESSOR_TIME = 2
"""How many seconds of processor time a version may take for each on the clock: several threads may work for it."""

_THREAD_BYTES = 16 << 20
"""Memory of one more thread of a run: a stack of 8 MiB, in the session of each of two graphs."""


def main() -> None:
    """Answer requests until the server closes its end."""
    answer_requests(_answer)


def _answer(request: bytes) -> bytes:
    if request == b"cuda":
        find_cuda_fault()  # loads the libraries, and takes the second that CUDA needs for its first run
    return json.dumps(try_out(**json.loads(request))).encode() if request.startswith(b"{") else b""


def try_out(
    folder: str,
    name: str,
    version: str,
    device: str,
    *,
    graph: str,
    allow_unproven: bool,
    max_bytes: int,
    threads: int,
    seconds: float,
    inside: str | None,
    signed: Mapping[str, str] | None = None,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    """Try a version.

    Args:
        folder: Folder of the version.
        name: Name of the model.
        version: Number of the version.
        device: "cpu" or "cuda".
        graph: The graph, as for `try_version`.
        allow_unproven: Whether such versions pass, as for `load_model`.
        max_bytes: Memory that it may take beyond `FILE_COPIES` times the bytes of its files, and stacks of threads.
        threads: Threads of a run.
        seconds: Seconds on the clock that it may take.
        inside: Folder, as for `load_model`.
        signed: Digests, as for `load_model`.
        rounds: Number of times that the runs are made by which its cost is measured.

    Returns:
        The answer's fields.
    """
    most = max_bytes + FILE_COPIES * _file_bytes(Path(folder)) + (threads - 1) * _THREAD_BYTES
    limit_processor_seconds(max(_PROCESSOR_TIME, threads) * seconds)
    limit_memory(most)
    try:
        findings = try_version(
            Path(folder),
            name,
            version,
            device,
            graph=graph,
            allow_unproven=allow_unproven,
            threads=threads,
            inside=None if inside is None else Path(inside),
            signed=signed,
            rounds=rounds,
        )
    except StartError as error:
        return {"start_error": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever a version does is the reason why it does not serve
        if any(map(is_of_memory, _causes(error))):
            return {"refused": f"needs more than {most:,} bytes of memory (--max-load-bytes)"}
        if isinstance(error, ArtifactError):
            return {"refused": str(error)}
        return {
            "refused": f"cannot be loaded: {type(error).__name__}: {one_line(str(error))}",
            "traceback": "".join(traceback.format_exception(error)),
        }
    return {"findings": findings.as_fields()}


def _file_bytes(folder: Path) -> int:
    """Bytes of the files that are read as a whole; none where they cannot be read, which is told when they are."""
    total = 0
    for name in (MODEL, SCAN, GOLDEN):
        try:
            total += (folder / name).stat().st_size
        except OSError:
            continue
    return total


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


if __name__ == "__main__":
    main()
