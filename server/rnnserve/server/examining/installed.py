"""What is installed: versions of packages, where models run, and how requests are received."""

import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterator

from rnnserve.common.extras import install_command
from rnnserve.server.examining.finding import OK, PROBLEM, Finding
from rnnserve.server.settings import Settings

__all__ = ["has_server_packages", "provider", "versions"]

_PACKAGES = ("numpy", "protobuf", "grpcio", "grpcio-reflection", "onnxruntime", "cryptography")
_IMPORTED = ("grpc", "grpc_reflection", "onnxruntime", "cryptography")


def has_server_packages() -> bool:
    """Whether the packages are there without which no server starts."""
    return all(importlib.util.find_spec(name) is not None for name in _IMPORTED)


def versions() -> Iterator[Finding]:
    """Versions of Python, of rnnserve and of what it needs to serve."""
    found = [f"rnnserve {importlib.metadata.version('rnnserve')}", f"Python {platform.python_version()}"]
    missing = []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            if package != "onnxruntime":  # its builds for other devices have other names
                missing.append(package)
    if importlib.util.find_spec("onnxruntime") is None:
        missing.append("onnxruntime")
    yield Finding(OK, "versions", ", ".join(found))
    if missing:
        yield Finding(PROBLEM, "versions", f"missing: {', '.join(missing)}", install_command("server"))


def provider(settings: Settings) -> Iterator[Finding]:
    """Where models run.

    Raises:
        StartError: If they cannot run where they are to.
    """
    import onnxruntime

    from rnnserve.server.repository.providers import choose_device

    device = choose_device(settings.provider)
    available = ", ".join(onnxruntime.get_available_providers())
    said = f"models run on {device} (--provider {settings.provider})"
    yield Finding(OK, "provider", f"{said}; onnxruntime {onnxruntime.__version__} has {available}")
