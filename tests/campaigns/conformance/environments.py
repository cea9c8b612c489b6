"""An environment for each client, created once from package registries, in a folder that git ignores."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.environments import Environment
from benchmarks.errors import MissingDependency
from kit.paths import ROOT, TESTS

__all__ = ["ROOT", "NodeProgram", "PythonProgram"]

_PROGRAMS = Path(__file__).with_name("programs")


@dataclasses.dataclass(frozen=True)
class PythonProgram:
    """A client's program in a virtual environment.

    Attributes:
        environment: The packages to install. The first one is the client.
        module: The program: a module of `campaigns.conformance.programs`.
    """

    environment: Environment
    module: str

    def prepare(self) -> list[str]:
        """Create the environment if it doesn't exist. Return the command that runs the program, without its argument.

        Raises:
            MissingDependency: If the network or a tool is missing.
        """
        self.environment.ensure()
        # `env` in front, so that the program sees only the environment's packages and `conformance`.
        program = f"campaigns.conformance.programs.{self.module}"
        return ["env", f"PYTHONPATH={TESTS}", str(self.environment.python), "-m", program]

    @property
    def pinned(self) -> str:
        """The client's version."""
        return self.environment.packages[0].partition("==")[2]


@dataclasses.dataclass(frozen=True)
class NodeProgram:
    """A client's program for Node.

    Attributes:
        folder: The folder of the environment.
        packages: The packages to install, with their versions; the first is the client.
        file: The program, a file of `programs/`.
    """

    folder: Path
    packages: tuple[str, ...]
    file: str

    def prepare(self) -> list[str]:
        """Like `PythonProgram.prepare`."""
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
            # --ignore-scripts: these packages work without their install scripts
            command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
            _run([*command, "--prefix", str(self.folder), *self.packages], self.folder)
            stamp.write_text(requirements)
        # Node looks for packages in the folders above a program.
        return ["node", str(shutil.copy2(_PROGRAMS / self.file, self.folder))]

    @property
    def pinned(self) -> str:
        """The client's version. Empty for a program that is installed on the machine."""
        return self.packages[0].rpartition("@")[2] if self.packages else ""


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _run(command: list[str], folder: Path) -> None:
    environment = os.environ | {"npm_config_update_notifier": "false"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"{command[0]} printed nothing"]
        reason = next((line for line in lines if "error" in line.lower()), lines[-1])
        raise MissingDependency(f"{folder.name} cannot be made: {reason.strip()}")
