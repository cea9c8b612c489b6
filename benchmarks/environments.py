"""The environments of the benchmark, made on demand beside the project's own, and the tools that no registry has."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.errors import Missing

__all__ = ["BENCH", "PERF", "Environment", "h2load"]

_ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Environment:
    """A virtual environment of the benchmark's own.

    Attributes:
        folder: Where it is.
        packages: What it holds, as pip takes it.
        purpose: What it is for, for the message where it cannot be made.
    """

    folder: Path
    packages: tuple[str, ...]
    purpose: str

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """Where its packages lie."""
        return self.folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"

    def ensure(self) -> None:
        """Make it, unless it is there with what it should hold.

        Raises:
            Missing: If it cannot be made: no network, or no such package for this machine.
        """
        stamp = self.folder / "holds"
        wanted = "\n".join(self.packages)
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        print(f"making {self.folder.name}: {', '.join(self.packages)}", file=sys.stderr, flush=True)
        _run([sys.executable, "-m", "venv", str(self.folder)], self)
        _run([str(self.python), "-m", "pip", "install", "--quiet", "--prefer-binary", *self.packages], self)
        stamp.write_text(wanted)

    def version(self, package: str) -> str:
        """The version of a package in it."""
        code = f"import importlib.metadata as m; print(m.version({package!r}))"
        done = subprocess.run([str(self.python), "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - our own interpreter
        return done.stdout.strip()


# nvidia-pytriton 0.7.0 carries tritonserver 2.51.0, and needs a numpy older than 2.
BENCH = Environment(
    _ROOT / ".venv-bench",
    ("nvidia-pytriton==0.7.0", "numpy<2", "onnxruntime==1.32.0", "matplotlib>=3.8"),
    "Triton and the plot",
)
PERF = Environment(_ROOT / ".venv-perf", ("perf-analyzer==2.60.0",), "perf_analyzer")


def h2load() -> str:
    """Find h2load.

    Raises:
        Missing: If it is not installed.
    """
    found = shutil.which("h2load")
    if found is None:
        raise Missing("h2load is missing: install nghttp2-client (Debian, Ubuntu), nghttp2 (Fedora, Homebrew)")
    return found


def _run(command: list[str], environment: Environment) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell, our own arguments
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no word why"]
        why = next((line for line in reversed(lines) if "ERROR" in line.upper()), lines[-1])
        packages = " ".join(f"'{package}'" for package in environment.packages)
        raise Missing(
            f"{environment.purpose} cannot be had: {why.strip()}; it needs Linux on x86-64 and a package index with "
            f"{packages}; delete {environment.folder.name} and try again where there is one"
        )
