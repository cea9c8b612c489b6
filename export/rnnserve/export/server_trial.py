"""The server's own trial of a version, before it is published: what is published is what servers take.

The server is a second opinion, so none of its code is imported here: it is run by the name of its module.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from rnnserve.export.errors import ExportError
from rnnserve.export.publishing import Published, publish_version
from rnnserve.export.sealing import Seal
from rnnserve.protos.triton_config import ConfigError, read_config

__all__ = ["OtherGraph", "Tried", "publish_tried", "try_on_server"]

_MODULE = "rnnserve.server.trial"
_SECONDS = 180.0
"""How long the trial may take on the clock; the server itself gives a version 60 seconds."""


@dataclasses.dataclass(frozen=True)
class Tried:
    """What the server said of a version that it takes.

    Attributes:
        untried: Why it could not be tried, in one line, where this installation cannot run the server; else empty.
        keeps_bits: Whether answers keep as many bits on the graph that serves as they would on the other one.
    """

    untried: str = ""
    keeps_bits: bool = True


class OtherGraph(Exception):
    """The version would serve, but on the other graph its answers keep more bits; nothing of it is published."""


def publish_tried(
    model: Path,
    files: Mapping[str, bytes],
    config: str,
    *,
    is_adopted: bool = False,
    seal: Seal = lambda *_: None,
) -> tuple[Published, str]:
    """Publish files as the next version of a model, as `publish_version` does, if the server takes them.

    Returns:
        Where the version is; and why it could not be tried, in one line, where the server is not installed.

    Raises:
        OtherGraph: If its answers keep more bits on the other graph; nothing of it remains.
        ExportError: If the server does not take the version; nothing of it remains.
        OSError: If it cannot be written; nothing of it remains.
    """
    said = []

    def check(folder: Path) -> None:
        try:
            read_config(model)
        except ConfigError as error:
            raise ExportError(_refused(str(error))) from error
        tried = try_on_server(folder, model.name, is_adopted=is_adopted)
        if not tried.keeps_bits:
            raise OtherGraph
        said.append(tried.untried)

    return publish_version(model, files, config, check, seal), said[-1]


def try_on_server(folder: Path, model: str, *, is_adopted: bool = False) -> Tried:
    """Try a version's files as a server does before it serves them.

    Args:
        folder: Folder of the version's files.
        model: The model's name.
        is_adopted: Whether it was adopted from an ONNX file, so that a server takes it with `--allow-unproven` only.

    Raises:
        ExportError: If the server does not take the version; the message is the server's.
    """
    arguments = [str(folder), "--model", model, *(["--allow-unproven"] if is_adopted else [])]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    try:
        done = subprocess.run(  # noqa: S603 - our own command line
            # -P: the working directory, which may hold anything, is no place to import from.
            [sys.executable, "-P", "-m", _MODULE, *arguments],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ExportError(_refused(f"its trial takes more than {_SECONDS:g} s")) from None
    except OSError as error:
        return Tried(f"the server's own trial was not made: no process can be started: {error.strerror}")
    try:
        found = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError:
        last = done.stderr.strip().rpartition("\n")[2]
        if last.startswith(("ModuleNotFoundError", "ImportError")) or _MODULE.partition(".")[0] in last:
            return Tried(f"the server's own trial was not made, since the server is not installed: {last}")
        raise ExportError(_refused(f"its trial ended {_ending(done.returncode)}: {last}".rstrip(": "))) from None
    if found["serves"]:
        return Tried(keeps_bits="better" not in found)
    if done.returncode != 1:
        return Tried(f"the server's own trial was not made: {found['reason']}")
    raise ExportError(_refused(found["reason"]))


def _refused(reason: str) -> str:
    return f"a server would not serve this version, so nothing is published: {reason}"


def _ending(status: int) -> str:
    return f"with {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
