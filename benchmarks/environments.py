"""Virtual environments of the benchmark, created on demand, and tools that aren't in any package index."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.errors import MissingDependency

_ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Environment:
    """A virtual environment separate from the project's.

    Attributes:
        folder: The folder of the environment.
        packages: The packages to install, as requirements of pip.
        purpose: The user of the environment, for the error message.
    """

    folder: Path
    packages: tuple[str, ...]
    purpose: str

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.folder / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """The folder of the installed packages."""
        return self.folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"

    def ensure(self) -> None:
        """Create the environment unless it exists with the same packages.

        Raises:
            MissingDependency: If pip cannot create it: there is no network, or a package isn't available for this
                machine.
        """
        stamp = self.folder / "installed"
        requirements = "\n".join(self.packages)
        if stamp.is_file() and stamp.read_text() == requirements:
            return
        print(f"making {self.folder.name}: {', '.join(self.packages)}", file=sys.stderr, flush=True)
        _run([sys.executable, "-m", "venv", str(self.folder)], self)
        _run([str(self.python), "-m", "pip", "install", "--quiet", "--prefer-binary", *self.packages], self)
        stamp.write_text(requirements)

    def version(self, package: str) -> str:
        """Return the installed version of a package."""
        code = f"import importlib.metadata as m; print(m.version({package!r}))"
        done = subprocess.run([str(self.python), "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - our own interpreter
        return done.stdout.strip()


# nvidia-pytriton 0.7.0 contains tritonserver 2.51.0, and needs numpy before version 2.
TRITON = Environment(_ROOT / ".venv-bench", ("nvidia-pytriton==0.7.0", "numpy<2", "onnxruntime==1.32.0"), "Triton")
_ONNX = ("numpy==2.4.6", "onnxruntime==1.32.0")
MOSEC = Environment(_ROOT / ".venv-bench-mosec", ("mosec==0.9.8", *_ONNX), "mosec")
LITSERVE = Environment(_ROOT / ".venv-bench-litserve", ("litserve==0.2.19", *_ONNX), "LitServe")
MLSERVER = Environment(_ROOT / ".venv-bench-mlserver", ("mlserver==1.7.1", *_ONNX), "MLServer")
PERF_ANALYZER = Environment(_ROOT / ".venv-perf", ("perf-analyzer==2.60.0",), "perf_analyzer")


def find_h2load() -> str:
    """Return the path of h2load.

    Raises:
        MissingDependency: If it is not installed.
    """
    found = shutil.which("h2load")
    if found is None:
        raise MissingDependency(
            "h2load is missing: install nghttp2-client (Debian, Ubuntu), nghttp2 (Fedora, Homebrew)"
        )
    return found


def _run(command: list[str], environment: Environment) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell, our own arguments
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["pip printed nothing"]
        reason = next((line for line in reversed(lines) if "ERROR" in line.upper()), lines[-1])
        packages = " ".join(f"'{package}'" for package in environment.packages)
        raise MissingDependency(
            f"{environment.purpose} cannot be installed: {reason.strip()}; it needs Linux on x86-64 and a package "
            f"index with {packages}. Install these, delete {environment.folder.name} and try again"
        )
