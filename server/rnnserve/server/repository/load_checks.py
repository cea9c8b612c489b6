"""Load checks: each version is loaded and run in another process first, which it may crash, block or fill.

This module has both ends: `LoadChecks` for the server, and the program for the other process. The program imports
onnxruntime and numpy, but not grpc:

- `python -m rnnserve.server.repository.load_checks` serves a server. The first request is the name of the device. Each
  further request is a `LoadCheck` as JSON, and each response is JSON too (`check_version`).
- `python -m rnnserve.server.repository.load_checks FOLDER` checks one version, for `rnnserve export` and `rnnserve
  import`. It prints one line, a JSON object: {"serves": true, "graph": …, "batch_invariant": …} for a version that may
  serve, else {"serves": false, "reason": "why"}. The object also has "better": "native" if model.onnx would guarantee
  more about the bits of responses than model.scan.onnx. The exit status is 0 or 1, and 2 if no version can be checked.
"""

import argparse
import dataclasses
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rnnserve.common.guarded_process import (
    GuardedProcess,
    ProcessEnded,
    ProcessTooSlow,
    answer_requests,
    limit_memory,
)
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, SCAN, ArtifactError, read_version
from rnnserve.server.errors import StartError, is_of_memory, one_line
from rnnserve.server.repository.findings import AUTO, NATIVE, SCANNED, Findings, LoadCheck
from rnnserve.server.settings import Settings
from rnnserve.server.system import why_no_resource

__all__ = ["LoadChecks", "Refused", "Stopped", "TooSlow", "check_name"]

_START_SECONDS = 60.0
"""Seconds that a process may take to start: it imports onnxruntime, and tries CUDA if that is the device."""

_NICENESS = 10
"""The process gets a tenth of a serving process's processor time if all processors are busy."""

_FILE_COPIES = 8
"""Copies of a model's bytes that may be in memory during a load: the file, onnxruntime's input, the parsed model, its
tensors, and tensors rearranged for kernels. Arrays grow by doubling."""

_THREAD_BYTES = 16 << 20
"""Memory of one more thread of a run: a stack of 8 MiB, in the session of each of two graphs."""


class TooSlow(Exception):
    """The version did not pass its load check in the time that it had."""


class Stopped(Exception):
    """`stop` was called."""


class Refused(Exception):
    """The version must not serve. The message is the reason."""


class LoadChecks:
    """A process that checks versions one by one, and is replaced if one ends it. For one thread, except `stop`."""

    def __init__(self) -> None:
        """Start the process without waiting for its imports. Raise StartError if the process can't start."""
        self._niceness = 0
        self._lock = threading.Lock()  # of the next two: `stop` ends whatever process there is
        self._is_stopped = False
        self._process: GuardedProcess | None = None
        self._is_ready = False  # whether the process has started
        self._deadline = 0.0
        self._start()

    def begin(self, check: LoadCheck) -> None:
        """Begin to check a version. `outcome` returns the result. Raise StartError, or Stopped if `stop` was called."""
        process = self._process or self._start()
        try:
            if not self._is_ready:
                process.receive(_START_SECONDS)
                process.send(check.device.encode())
                process.receive(_START_SECONDS)
                self._is_ready = True
            self._deadline = time.monotonic() + check.seconds
            process.send(check.as_json())
        except ProcessEnded as error:
            self._end()
            if self._is_stopped:
                raise Stopped from None
            raise StartError(f"the process for load checks ended, {error}") from error
        except ProcessTooSlow as error:
            self._end()
            raise StartError(f"the process for load checks did not start within {_START_SECONDS:g} s") from error

    def outcome(self) -> Findings:
        """Wait for the end of the check. Raise Refused, TooSlow, Stopped, or StartError if the device cannot be had."""
        assert self._process is not None  # noqa: S101 - a check has begun
        try:
            answer = json.loads(self._process.receive(self._deadline - time.monotonic()))
        except ProcessTooSlow:
            self._end()
            raise TooSlow from None
        except ProcessEnded as error:
            self._end()
            raise Stopped if self._is_stopped else Refused(f"ended the process that tried it {error}") from None
        if "start_error" in answer:
            raise StartError(answer["start_error"])
        if "refused" in answer:
            raise Refused(answer["refused"])
        return Findings.from_fields(answer["findings"])

    def give_way(self) -> None:
        """Lower the priority of processes started from now on, because this process serves."""
        self._niceness = _NICENESS

    def stop(self) -> None:
        """End the process. No check can run afterwards. Any thread may call this."""
        with self._lock:
            self._is_stopped = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """End the process. A further check starts another one."""
        self._end()

    def _start(self) -> GuardedProcess:
        with self._lock:
            if self._is_stopped:
                raise Stopped
            try:
                module = "rnnserve.server.repository.load_checks"
                self._process = GuardedProcess("-m", module, niceness=self._niceness)
            except OSError as error:
                raise StartError(f"cannot start a process for load checks: {why_no_resource(error)}") from error
            return self._process

    def _end(self) -> None:
        with self._lock:
            process, self._process, self._is_ready = self._process, None, False
        if process is not None:
            process.close()


def check_version(check: LoadCheck) -> dict[str, Any]:
    """Check a version in this process. Return {"findings": …}, {"refused": why} or {"start_error": why}."""
    # Here, since it imports onnxruntime: a server starts the process before it needs that itself.
    from rnnserve.server.repository.load_version import try_version

    files = [check.folder / file for file in (MODEL, SCAN, GOLDEN)]
    file_bytes = sum(file.stat().st_size for file in files if os.access(file, os.R_OK))
    most = check.max_bytes + _FILE_COPIES * file_bytes + (check.threads - 1) * _THREAD_BYTES
    limit_memory(most)
    try:
        findings = try_version(check)
    except StartError as error:
        return {"start_error": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever a version does is the reason why it does not serve
        if any(map(is_of_memory, _causes(error))):
            return {"refused": f"needs more than {most:,} bytes of memory"}
        if isinstance(error, ArtifactError):
            return {"refused": str(error)}
        return {"refused": f"cannot be loaded: {type(error).__name__}: {one_line(str(error))}"}
    return {"findings": dataclasses.asdict(findings)}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def check_name(manifest: manifest_pb2.Manifest, name: str) -> None:
    """Raise ArtifactError unless a version was published as the model in whose folder it lies."""
    if manifest.model != name:
        raise ArtifactError(f'{MANIFEST}: belongs to the model "{manifest.model}", but is in the folder of "{name}"')


def answer_server() -> None:
    """Answer the requests of a server until it closes its end."""
    from rnnserve.server.repository import load_version, providers  # before this process reports that it is ready

    def answer(request: bytes) -> bytes:
        if request == b"cuda":
            providers.find_cuda_fault()  # loads the libraries, and takes the second that CUDA needs for its first run
        return json.dumps(check_version(LoadCheck.of_json(request))).encode() if request.startswith(b"{") else b""

    assert load_version  # noqa: S101 - `check_version` needs it
    answer_requests(answer)


def main(arguments: Sequence[str]) -> int:
    """Check a version, print the findings, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m rnnserve.server.repository.load_checks", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the version")
    parser.add_argument("--model", help="name of the model (default: the name of the version's parent folder)")
    parser.add_argument("--allow-unproven", action="store_true", help="accept imported versions, too")
    args = parser.parse_args(arguments)
    folder, settings = args.folder.resolve(), Settings()
    name = args.model or folder.parent.name

    def check(graph: str) -> dict[str, Any]:
        return check_version(
            LoadCheck(
                folder,
                name,
                folder.name,
                graph=graph,
                allow_unproven=args.allow_unproven,
                max_bytes=settings.max_load_bytes,
                seconds=settings.load_timeout,
                is_brief=True,  # costs aren't printed because each server measures them
            )
        )

    try:
        check_name(read_version(args.folder, keep=()).manifest, name)
        found = check(AUTO)
    except ArtifactError as error:
        found = {"refused": str(error)}
    if "findings" not in found:
        print(json.dumps({"serves": False, "reason": found.get("refused") or found["start_error"]}))
        return 1 if "refused" in found else 2
    findings = Findings.from_fields(found["findings"])
    said: dict[str, Any] = {"graph": findings.graph.name, "batch_invariant": findings.batch_invariant}
    if findings.graph.name == SCANNED and findings.may_keep_more_bits:
        native = check(NATIVE)
        if "findings" in native and Findings.from_fields(native["findings"]).bits_kept > findings.bits_kept:
            said["better"] = NATIVE
    print(json.dumps({"serves": True, **said}))
    return 0


if __name__ == "__main__":
    if not sys.argv[1:]:
        answer_server()
    sys.exit(main(sys.argv[1:]))
