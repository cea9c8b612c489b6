"""`rnnserve serve --check`: check everything a start needs, print the findings, and exit without serving."""

import dataclasses
import datetime as dt
import logging
import time
from collections.abc import Iterator, Mapping

from rnnserve.common.extras import missing_package
from rnnserve.common.tls_identity import IdentityError, read_identity
from rnnserve.server.commands.http_gateway import missing_http_package
from rnnserve.server.commands.serve import exposure
from rnnserve.server.errors import StartError
from rnnserve.server.settings import HTTP_PORT, CommandSettings, Settings
from rnnserve.server.system import probe_port

__all__ = ["check"]

_OK, _WARNING, _PROBLEM = "ok", "warning", "problem"

_SOON_SECONDS = 14 * 86400.0
"""Seconds before a certificate's expiry from which on its end is a warning."""

_Finding = tuple[str, str, str]
"""Level, subject and text."""


def check(settings: Settings, command: CommandSettings) -> int:
    """Print the findings. Return 1 if the server would not start or a model would not serve, or else 0."""
    logging.disable(logging.CRITICAL)  # the findings replace the server's log
    is_wrong = False
    try:
        for level, subject, text in _findings(settings, command):
            print(f"{level:8} {subject:13} {' '.join(text.split())}", flush=True)
            is_wrong |= level == _PROBLEM
    finally:
        logging.disable(logging.NOTSET)
    return int(is_wrong)


def _findings(settings: Settings, command: CommandSettings) -> Iterator[_Finding]:
    yield from _ports(settings, command)
    if warning := exposure(settings, command.metrics_port):
        yield _WARNING, "exposure", warning
    yield from _certificate(settings)
    try:
        yield from _models(settings)
    except StartError as error:
        yield _PROBLEM, "start", str(error)


def _ports(settings: Settings, command: CommandSettings) -> Iterator[_Finding]:
    wanted: dict[str, int | None] = {"--grpc-port": settings.grpc_port, "--metrics-port": command.metrics_port}
    if not command.no_http:
        wanted["--http-port"] = HTTP_PORT if command.http_port is None else command.http_port
        if missing := missing_http_package():
            level = _WARNING if command.http_port is None else _PROBLEM
            yield level, "ports", f"HTTP {missing_package(missing, 'web')}, or --no-http"
    chosen = [port for port in wanted.values() if port]
    for option, port in wanted.items():
        if port is None:
            continue
        is_optional = option == "--http-port" and command.http_port is None
        mistake = f"{port} is chosen for more than one protocol" if chosen.count(port) > 1 else ""
        try:
            probe_port(settings.host, port)
        except StartError as error:
            mistake = str(error)
        if mistake:
            yield _WARNING if is_optional else _PROBLEM, "ports", f"{option}: {mistake}"
        else:
            yield _OK, "ports", f"{option}: {settings.host}:{port or 'any'} is free"


def _certificate(settings: Settings) -> Iterator[_Finding]:
    files = settings.tls_files
    if files is None:
        return
    try:
        identity = read_identity(files)
        flaw = identity.flaw(files)
    except IdentityError as error:
        flaw = str(error)
    if flaw:
        yield _PROBLEM, "certificate", flaw
    elif identity.end:
        end = dt.datetime.fromtimestamp(identity.end, dt.UTC).isoformat(timespec="seconds")
        yield _WARNING if identity.end - time.time() < _SOON_SECONDS else _OK, "certificate", f"it ends at {end}"


def _numbered(number: int, reason: str) -> str:
    """Name the version before the reason, unless the reason itself names every version, as that of a signature may."""
    return reason if reason.startswith("version ") else f"version {number}: {reason}"


def _models(settings: Settings) -> Iterator[_Finding]:
    """Load the models and all files in the settings as a start does. Raises StartError."""
    try:
        from rnnserve.server.app import Server
        from rnnserve.server.repository.repository import LOADING, NOT_LOADED, READY, Status
    except ModuleNotFoundError as missing:
        raise StartError(missing_package(missing.name, "server")) from missing

    def finding(name: str, versions: Mapping[int, Status]) -> Iterator[_Finding]:
        ready = [number for number, status in versions.items() if status.state == READY]
        for number, status in versions.items():
            if status.state != READY and status.reason not in ("", NOT_LOADED) and number > max(ready, default=0):
                yield _WARNING if ready else _PROBLEM, "models", f"{name} {_numbered(number, status.reason)}"
        if ready:
            yield _OK, "models", f"{name}: version {', '.join(map(str, ready))} passed the load check"

    server = Server(dataclasses.replace(settings, share_port=True))  # so that it doesn't listen before `listen`
    try:
        try:
            server.load()
        finally:
            while any(status.state == LOADING for _, versions in server.statuses() for status in versions.values()):
                time.sleep(0.05)
            for name, versions in server.statuses():
                yield from finding(name, versions)
    finally:
        server.stop(grace=0)
