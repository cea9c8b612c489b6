"""The shell sessions of a how-to, run as a reader would type them: in one folder, one after another.

In a page, a line of a shell block that begins with ``$ `` is a command, and the lines after it are what it prints,
where ``…`` stands for anything; a command without such lines has only to succeed. A block of another language whose
first line is a comment with the name of a file is that file, which is written when the reader comes by. ``rnnserve
serve`` goes on in a terminal of its own until the page starts another, or ends.

Ports that a page names, and those that commands have by default, become ports that nobody else has. Objectives of load
tests become such that every machine holds them: what is tested is the page, and not the speed of the machine.
"""

import contextlib
import dataclasses
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from support.waiting import PATIENCE

__all__ = ["FENCED", "SHELL", "Command", "File", "PageSession", "steps"]

FENCED = re.compile(r"^(?P<fence>`{3,}|~{3,})(?P<language>\w*)\n(?P<text>(?s:.*?))^(?P=fence)\s*$", re.MULTILINE)
SHELL = {"", "sh", "bash", "shell", "console"}
_FILE = re.compile(r"(?:#|//) (?P<name>[\w.-]+\.\w+)\n")
_ASKS_SERVER = re.compile(r"\brnnserve (infer|load|health|serve|doctor)\b(?P<rest>[^|;&]*)")
_OBJECTIVE = re.compile(r"--slo [\w=,]+")
_HELD_ANYWHERE = "--slo p50=5s --max-requests 100"
_MAY_WAIT = re.compile(r"(rnnserve (infer|health)|curl) ")
"""Commands that only ask: they are asked again while what they print is to come."""


@dataclasses.dataclass(frozen=True)
class Command:
    """A command of a page, and what the page says that it prints; empty where it says nothing."""

    line: str
    printed: str


@dataclasses.dataclass(frozen=True)
class File:
    """A file that a page has its reader write."""

    name: str
    text: str


def steps(page: str) -> Iterator[Command | File]:
    """What a page has its reader do, in order."""
    for block in FENCED.finditer(page):
        if block["language"] in SHELL:
            yield from _commands(block["text"])
        elif found := _FILE.match(block["text"]):
            yield File(found["name"], block["text"])


def _commands(block: str) -> Iterator[Command]:
    _, *typed = re.split(r"^\$ ", block, flags=re.MULTILINE)
    for text in typed:
        line, _, printed = re.sub(r"\\\n", "", text).partition("\n")
        yield Command(line, printed.strip())


class PageSession:
    """Does what a page says, in a folder."""

    def __init__(self, folder: Path, ports: Mapping[str, int], programs: Path = Path(sys.executable).parent) -> None:
        """Prepare.

        Args:
            folder: Folder in which the reader is.
            ports: Ports to be used in the place of those that the page, or a command by default, names.
            programs: Folder of the programs that are found first.
        """
        self._folder = folder
        self._ports = ports
        self._server: subprocess.Popen[str] | None = None
        self._environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_server()

    def do(self, step: Command | File) -> None:
        """Do one step."""
        if isinstance(step, File):
            (self._folder / step.name).write_text(self._with_ports(step.text))
            return
        line = _OBJECTIVE.sub(_HELD_ANYWHERE, _ASKS_SERVER.sub(self._with_address, self._with_ports(step.line)))
        if line.startswith("rnnserve serve") and "--print-config" not in line:
            self._serve(line)
        else:
            self._run(line, step.printed)

    def _with_ports(self, text: str) -> str:
        return re.sub(rf"\b({'|'.join(self._ports)})\b", lambda found: str(self._ports[found[0]]), text)

    def _with_address(self, found: re.Match[str]) -> str:
        command, rest = found[1], found["rest"]
        address = f"127.0.0.1:{self._ports['8001']}"
        if command in ("serve", "doctor"):
            named = {"--grpc-port": self._ports["8001"], "--http-port": self._ports["8000"]}
            given = "".join(f" {name} {port}" for name, port in named.items() if name not in rest)
        elif command == "health":
            given = "" if "://" in rest else f" {address}"
        else:
            given = "" if "--url" in rest or "--serve" in rest or "--compare" in rest else f" --url {address}"
        return f"rnnserve {command}{given}{rest}"

    def _run(self, line: str, printed: str) -> None:
        pattern = re.escape(self._with_ports(printed)).replace("…", "(?s:.*)")
        end = time.monotonic() + PATIENCE
        while True:
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", line],
                cwd=self._folder,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            said = done.stdout.strip()
            if done.returncode == 0 and (not printed or re.fullmatch(pattern, said)):
                return
            if not _MAY_WAIT.match(line) or time.monotonic() > end:
                break
            time.sleep(0.2)
        raise AssertionError(
            f"$ {line}\n{said}\n(status {done.returncode}), and the page says:\n{printed or 'nothing'}"
        )

    def _serve(self, line: str) -> None:
        """Start a server, and wait until it serves."""
        self._end_server()
        command, _, log_name = line.partition(" 2> ")
        log = self._folder / (log_name or "log of the server.txt")
        with log.open("w") as file:
            self._server = subprocess.Popen(
                shlex.split(command),
                cwd=self._folder,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )
        assert self._server.stdout is not None
        ready = self._server.stdout.readline()
        assert ready.startswith("gRPC on "), f"$ {line}\n{ready}{log.read_text()}"

    def _end_server(self) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.communicate(timeout=PATIENCE)
            self._server.kill()
            assert self._server.wait() == 0
            self._server = None
