"""An environment for each client: made once, from package registries, in a folder that git ignores."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from benchmarks.environments import Environment
from benchmarks.errors import MissingDependency
from kit.paths import ROOT, TESTS

__all__ = ["ROOT", "ClientEnvironment", "CppProgram", "NodeProgram", "PythonProgram"]

_PROGRAMS = Path(__file__).with_name("programs")
_PROTOS = ROOT / "protos"


class ClientEnvironment(Protocol):
    """Where a client's program runs."""

    def prepare(self) -> list[str]:
        """Make the environment, unless it exists, and return the command that runs the program, but for its argument.

        Raises:
            MissingDependency: If it cannot be made: without a network, or without a tool of this machine.
        """

    def version(self) -> str:
        """Return the client's version. Only after `prepare`."""


@dataclasses.dataclass(frozen=True)
class PythonProgram:
    """A program in a virtual environment.

    Attributes:
        environment: The environment; its first package is the client.
        module: The program, a module of `campaigns.conformance.programs`.
    """

    environment: Environment
    module: str

    def prepare(self) -> list[str]:
        """See `ClientEnvironment`."""
        self.environment.ensure()
        # `env` in front: the program sees no packages but the environment's, and `conformance`.
        return [
            "env",
            f"PYTHONPATH={TESTS}",
            str(self.environment.python),
            "-m",
            f"campaigns.conformance.programs.{self.module}",
        ]

    def version(self) -> str:
        """See `ClientEnvironment`."""
        return self.environment.packages[0].partition("==")[2]


@dataclasses.dataclass(frozen=True)
class NodeProgram:
    """A program for Node.

    Attributes:
        folder: The folder of the environment.
        packages: The packages to install, with their versions; the first is the client.
        file: The program, a file of `programs/`.
    """

    folder: Path
    packages: tuple[str, ...]
    file: str

    def prepare(self) -> list[str]:
        """See `ClientEnvironment`."""
        for tool in ("node", "npm"):
            if shutil.which(tool) is None:
                raise MissingDependency(
                    f"{tool} is missing: install nodejs and npm (Debian: apt-get install nodejs npm)"
                )
        stamp = self.folder / "installed"
        requirements = "\n".join(self.packages)
        if not stamp.is_file() or stamp.read_text() != requirements:
            _say(f"making {self.folder.name}: {', '.join(self.packages)}")
            self.folder.mkdir(parents=True, exist_ok=True)
            # --ignore-scripts: none of these packages needs what its scripts would do
            command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
            _run([*command, "--prefix", str(self.folder), *self.packages], self.folder)
            stamp.write_text(requirements)
        # Node looks for packages in the folders above a program.
        return ["node", str(shutil.copy2(_PROGRAMS / self.file, self.folder))]

    def version(self) -> str:
        """See `ClientEnvironment`."""
        if not self.packages:
            done = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
            return done.stdout.strip().removeprefix("v")
        return self.packages[0].rpartition("@")[2]


@dataclasses.dataclass(frozen=True)
class CppProgram:
    """A program in C++, built with the compiler and libraries of Debian's packages.

    Attributes:
        folder: Where it is built.
        files: The program's files in `programs/`, the one with `main` first.
    """

    folder: Path
    files: tuple[str, ...]

    def prepare(self) -> list[str]:
        """See `ClientEnvironment`."""
        for tool, package in (
            ("g++", "g++"),
            ("protoc", "protobuf-compiler"),
            ("grpc_cpp_plugin", "protobuf-compiler-grpc"),
            ("pkg-config", "pkg-config"),
        ):
            if shutil.which(tool) is None:
                raise MissingDependency(f"{tool} is missing: install {package} (Debian: apt-get install {package})")
        if subprocess.run(["pkg-config", "--exists", "grpc++"], check=False).returncode != 0:
            raise MissingDependency("gRPC for C++ is missing: install it (Debian: apt-get install libgrpc++-dev)")
        protos = [Path("rnnserve", "protos", f"{name}.proto") for name in ("model_config", "inference", "health")]
        sources = [*(_PROTOS / path for path in protos), *(_PROGRAMS / file for file in self.files)]
        program = self.folder / "program"
        if not program.is_file() or any(path.stat().st_mtime > program.stat().st_mtime for path in sources):
            _say(f"building {self.folder.name}, in about a minute")
            self.folder.mkdir(parents=True, exist_ok=True)
            plugin = f"--plugin=protoc-gen-grpc={shutil.which('grpc_cpp_plugin')}"
            out = [f"-I{_PROTOS}", f"--cpp_out={self.folder}", f"--grpc_out={self.folder}", plugin]
            _run(["protoc", *out, *map(str, protos)], self.folder)
            flags = subprocess.run(
                ["pkg-config", "--cflags", "--libs", "grpc++", "protobuf"], capture_output=True, text=True, check=True
            ).stdout.split()
            stubs = [str(path) for path in sorted((self.folder / "rnnserve" / "protos").glob("*.cc"))]
            main = str(_PROGRAMS / self.files[0])
            includes = [f"-I{self.folder}", f"-I{_PROGRAMS}"]
            _run(["g++", "-std=c++17", *includes, "-o", str(program), main, *stubs, *flags], self.folder)
        return [str(program)]

    def version(self) -> str:
        """See `ClientEnvironment`."""
        asked = ["pkg-config", "--modversion", "grpc++"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _run(command: list[str], folder: Path) -> None:
    environment = os.environ | {"npm_config_update_notifier": "false"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"{command[0]} printed nothing"]
        reason = next((line for line in lines if "error" in line.lower()), lines[-1])
        raise MissingDependency(f"{folder.name} cannot be made: {reason.strip()}")
