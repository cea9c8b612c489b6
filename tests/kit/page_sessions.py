"""The shell sessions of a page, run as a reader would type them: in one folder, one after another.

In a page, a line of a shell block that begins with ``$ `` is a command, and the lines after it are what it prints,
where ``…`` stands for anything; a command without such lines has only to succeed. A block of another language whose
first line is a comment with the name of a file is that file, which is written when the reader comes by. ``rnnserve
serve`` goes on in a terminal of its own until the page starts another, or ends. Commands of rnnserve that are made of
words alone run in this process: an interpreter of its own costs each 0.4 s of processor time, those with torch 4 s.

Ports that a page names, and those that commands have by default, become ports that nobody else has. Load tests are
short, objectives become such that every machine holds them, and one rate is measured in the place of a search: what is
tested is the page, and not the speed of the machine.
"""

import contextlib
import dataclasses
import io
import itertools
import linecache
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import pytest

from kit.paths import ROOT
from kit.waiting import PATIENCE
from rnnserve.cli import main

_FENCED = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<language>\w*)\n(?P<text>(?s:.*?))^(?P=indent)(?P=fence)\s*$",
    re.MULTILINE,
)
SHELL = {"", "sh", "bash", "shell", "console"}
_FILE = re.compile(r"(?:#|//) (?P<name>[\w.-]+\.\w+)\n")
_ASKS_SERVER = re.compile(r"\brnnserve (infer|load|health|serve)\b(?P<rest>[^|;&]*)")
_OBJECTIVE = re.compile(r"--slo [\w=,]+")
_MET_ANYWHERE = "--slo p50=5s --max-requests 40 --warmup 0.1"
_SEARCH = re.compile(r"rnnserve load (?=.*--slo)(?!.*--rate)")
_LOAD = re.compile(r"rnnserve load (?!.*(?:--repeat|--compare|--slo|--duration))")
_IN_PROCESS = {"check", "export", "health", "import", "infer", "inspect", "load", "sign", "token"}
_OF_SHELLS = re.compile(r"[|&;<>$`*?~(){}\\]")
_PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
_CURL = f'curl() {{ command curl --fail-with-body --max-time {PATIENCE:.0f} "$@"; }}\n'
_MAY_WAIT = re.compile(r"(rnnserve (infer|health)|curl|grep) ")
"""Commands without effects: they run again until what they wait for is there, such as a line in a log."""


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a page, in order: the word after the fence, and the lines, without its indentation."""
    for found in _FENCED.finditer(page):
        yield found["language"], re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE)


def without_blocks(page: str) -> str:
    """A page without its blocks."""
    return _FENCED.sub("", page)


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
    for language, text in blocks(page):
        if language in SHELL:
            yield from _commands(text)
        elif found := _FILE.match(text):
            yield File(found["name"], text)


def _commands(block: str) -> Iterator[Command]:
    _, *typed = re.split(r"^\$ ", block, flags=re.MULTILINE)
    for text in typed:
        line, _, printed = _whole(re.sub(r"\\\n", "", text)).partition("\0")
        yield Command(re.sub(r"(^|\| |^\w+=\S+ )\.venv/bin/", r"\1", line), printed.strip())


def _whole(text: str) -> str:
    """A command, which goes on after a line with an open quote or a pipe at its end, a zero, and what it prints."""
    lines = text.splitlines()
    for count in range(1, len(lines) + 1):
        command = "\n".join(lines[:count])
        if command.count("'") % 2 == 0 and not command.endswith("|"):
            return "\0".join((command, "\n".join(lines[count:])))
    raise ValueError(f"a quote in this command is not closed: {text}")


class PageSession:
    """Does what a page says, in a folder."""

    def __init__(self, folder: Path, ports: Mapping[str, int]) -> None:
        """Prepare.

        Args:
            folder: Folder in which the reader is.
            ports: Ports to be used in the place of those that the page, or a command by default, names.
        """
        self._folder = folder
        self._ports = ports
        self._server: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_server()

    def do(self, step: Command | File) -> None:
        """Do one step."""
        if isinstance(step, File):
            (self._folder / step.name).write_text(self._with_ports(step.text))
            return
        line = _ASKS_SERVER.sub(self._with_address, self._with_ports(step.line))
        line = _LOAD.sub("rnnserve load --duration 0.2 --warmup 0.1 ", _SEARCH.sub("rnnserve load --rate 100 ", line))
        line = _OBJECTIVE.sub(_MET_ANYWHERE, line)
        if re.match(r"(\w+=\S+ )*rnnserve serve", line) and not re.search("--print-config|--check", line):
            self._serve(line)
        else:
            self._run(line, step.printed)

    def _with_ports(self, text: str) -> str:
        return re.sub(rf"\b({'|'.join(self._ports)})\b", lambda found: str(self._ports[found[0]]), text)

    def _with_address(self, found: re.Match[str]) -> str:
        command, rest = found[1], found["rest"]
        address = f"127.0.0.1:{self._ports['8001']}"
        if command == "serve":
            is_beside = "--check" in rest and self._server is not None
            named = {"--grpc-port": self._ports["8001"], "--http-port": self._ports["8000"]}
            named = dict.fromkeys(named, 0) if is_beside else named
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
            status, said = self._run_here(line) if self._is_run_here(line) else self._run_in_shell(line, printed)
            if status == 0 and (not printed or re.fullmatch(pattern, said)):
                return
            if not _MAY_WAIT.match(line) or time.monotonic() > end:
                break
            time.sleep(0.2)
        raise AssertionError(f"$ {line}\n{said}\n(status {status}), and the page says:\n{printed or 'nothing'}")

    def _run_in_shell(self, line: str, printed: str) -> tuple[int, str]:
        functions = "" if printed else _CURL  # what says what it prints may be an error
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", functions + line],
            cwd=self._folder,
            env={**os.environ, "PATH": _PATH},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.strip()

    def _is_run_here(self, line: str) -> bool:
        """Whether it is a command that runs in this process: a shell would make nothing of any of its words."""
        program, name, *_ = [*line.split(), "", ""]
        is_of_words = not _OF_SHELLS.search(re.sub("'[^']*'", "", line))
        return program == "rnnserve" and name in _IN_PROCESS and is_of_words

    def _run_here(self, line: str) -> tuple[int, str]:
        said = io.StringIO()
        with contextlib.chdir(self._folder), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                status = main(shlex.split(line, comments=True)[1:])
            except SystemExit as ended:
                status = ended.code if isinstance(ended.code, int) else 1
        return status, said.getvalue().strip()

    def _serve(self, line: str) -> None:
        """Start a server, and wait until it serves."""
        self._end_server()
        command, _, log_name = line.partition(" 2> ")
        log = self._folder / (log_name or "log of the server.txt")
        with log.open("w") as file:
            self._server = subprocess.Popen(
                ["bash", "-c", f"exec env {command}"],
                cwd=self._folder,
                env={**os.environ, "PATH": _PATH},
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


@dataclasses.dataclass(frozen=True)
class Example:
    """A Python block of a page: the line of its fence, its source, and its output, if the page shows it."""

    line: int
    source: str
    output: str | None


def examples(page: str) -> list[list[Example]]:
    """Group the Python blocks of a page that run together, in order.

    A block runs by itself, unless its first line says that it goes on from the block above. A block of the language
    `text` right after a Python block is what that block prints. A block that is a file runs with the page's commands.
    """
    found: list[list[Example]] = []
    for fence, after in itertools.pairwise([*_FENCED.finditer(page), None]):
        assert fence is not None
        if fence["language"] != "python" or _FILE.match(fence["text"]):
            continue
        is_output = after is not None and after["language"] == "text" and not page[fence.end() : after.start()].strip()
        line = page.count("\n", 0, fence.start()) + 1
        example = Example(line, fence["text"], after["text"] if after is not None and is_output else None)
        if found and example.source.startswith("# goes on from the block above"):
            found[-1].append(example)
        else:
            found.append([example])
    return found


def run_examples(name: str, group: list[Example], port: int) -> None:
    """Run Python blocks that belong together in this process, and compare what they print."""
    names = {"__name__": "__main__"}
    for example in group:
        source = "\n" * example.line + example.source.replace("127.0.0.1:8001", f"127.0.0.1:{port}")
        file = f"<{name}:{example.line}>"
        # As in a notebook: publishing reads the source of a loop over steps.
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(source, file, "exec"), names)
        assert example.output in (None, printed.getvalue()), f"{file} printed:\n{printed.getvalue()}"


PAGES = {
    str(path.relative_to(ROOT).with_suffix("")): path.read_text()
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")))
}
"""The README and the pages of the documentation, by name: `docs/install`."""

NOT_RUN = {
    "make ": "takes minutes or a network; test_command_lines.py checks that target and variables exist",
    ". .venv/bin/activate": "has a shell find the programs of an environment; here they are found first already",
    "python3 -m venv ": "makes an environment; `make dist` does, for each extra",
    "pip ": "needs a package index; `make dist` installs each extra",
    "grpcurl ": "is in no package index; `make conformance` asks the reflection",
    "podman ": "needs the image, which `make image-test` builds and runs",
    "kubectl ": "needs a cluster; `make check` checks the manifests",
    "export RAY_": "needs several machines; `make ray-test` has three nodes",
    "ray ": "likewise",
    "rnnserve ray ": "likewise",
    "envoy ": "needs servers; tests/full/deploy/test_envoy.py runs it with this file",
    "rnnserve web --upstream 10.": "servers on other machines; tests/full/web has them on this one",
    "rnnserve serve --check repository --provider cuda": "needs a GPU; `make gpu` serves there",
    "rnnserve serve repository --provider cuda": "likewise",
    'rnnserve load --serve repository --serve-flags="--provider': "likewise",
}
"""Beginnings of commands that do not run here, and why."""


OTHERS = {name: page for name, page in PAGES.items() if name not in ("README", "docs/tutorial")}
"""Pages that the full suite runs. The core runs the others."""


def commands(page: str, *, are_run: bool = True) -> list[str]:
    """List the commands of a page: those that tests run, or the others."""
    lines = [step.line for step in steps(page) if isinstance(step, Command)]
    return [line for line in lines if are_run != line.startswith(tuple(NOT_RUN))]


def starts_server(page: str) -> bool:
    """Tell whether a page has a command that is run and starts a server."""
    return any(re.search(r"^(\w+=\S+ )*rnnserve serve (?!--check)", line) for line in commands(page))


def run_commands(session: PageSession, page: str) -> None:
    """Do what a page says, as far as it is run here. Skip commands whose program is missing, and say so."""
    missing = set()
    for step in steps(page):
        if isinstance(step, Command):
            program = step.line.split()[0]
            if step.line.startswith(tuple(NOT_RUN)):
                continue
            if "=" not in program and shutil.which(program, path=_PATH) is None:
                missing.add(program)
                continue
        session.do(step)
    if missing:
        pytest.skip(f"all but commands of programs that are not here: {', '.join(missing)}")
