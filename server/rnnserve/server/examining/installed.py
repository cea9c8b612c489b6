"""What is installed: versions of packages, where models run, and how requests are received."""

import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterator
from concurrent import futures

from rnnserve.common.extras import install_command
from rnnserve.server.errors import StartError
from rnnserve.server.examining.finding import OK, PROBLEM, WARNING, Finding
from rnnserve.server.settings import Settings

__all__ = ["has_server_packages", "lane", "provider", "versions"]

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


def lane(settings: Settings) -> Iterator[Finding]:
    """Whether requests are received on the lane, and why not.

    Raises:
        StartError: If the lane is asked for, and cannot run.
    """
    import grpc

    from rnnserve.server.grpcio_private.missing_parts import missing_parts

    if settings.transport == "public":
        yield Finding(OK, "lane", "requests take the public transport, as --transport public says")
        return
    with futures.ThreadPoolExecutor(1) as pool:
        lacking = missing_parts(grpc.server(pool))
    if lacking is None:
        yield Finding(OK, "lane", "requests take the lane, the fast way")
    elif settings.transport == "lane":
        raise StartError(f"transport lane: cannot run here: {lacking}; serve with --transport public or auto")
    else:
        remedy = "install a grpcio that has it, such as that of constraints.txt"
        yield Finding(WARNING, "lane", f"requests take the public transport, which is slower: {lacking}", remedy)
