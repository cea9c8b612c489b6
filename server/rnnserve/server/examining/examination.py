"""All findings about a configuration, in the order in which an operator should read them."""

import logging
from collections.abc import Iterator
from typing import NamedTuple

from rnnserve.server.examining import installed, listening, machine
from rnnserve.server.examining.access import access
from rnnserve.server.examining.finding import PROBLEM, Finding, as_finding
from rnnserve.server.examining.models import models
from rnnserve.server.examining.signatures import signatures
from rnnserve.server.settings import Settings

__all__ = ["Processes", "findings"]


class Processes(NamedTuple):
    """How the command would run the server.

    Attributes:
        workers: Processes that share the port.
        http_port: Port for HTTP; None for the usual one, if it can be had.
        usual_http_port: That one.
        is_without_http: Whether gRPC is served alone.
        http_packages: Names of what HTTP needs.
        metrics_port: Port for metrics; None for none.
    """

    workers: int
    http_port: int | None
    usual_http_port: int
    is_without_http: bool
    http_packages: tuple[str, ...]
    metrics_port: int | None


def findings(settings: Settings, processes: Processes) -> Iterator[Finding]:
    """Look at everything.

    Args:
        settings: Settings of the server.
        processes: Processes of the command, and what they would serve.
    """
    log = logging.getLogger("rnnserve.server")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what the server would log is what the findings say
    try:
        yield from as_finding("versions", installed.versions)
        has_all = installed.has_server_packages()
        if has_all:
            yield from as_finding("provider", lambda: installed.provider(settings))
        yield from _of_machine(settings, processes)
        yield from _of_ports(settings, processes)
        yield from as_finding("certificates", lambda: listening.certificates(settings))
        yield from as_finding("access", lambda: access(settings, processes.metrics_port))
        if has_all:
            yield from as_finding("session key", lambda: listening.session_key(settings))
            yield from _of_repository(settings)
        else:
            yield Finding(PROBLEM, "repository", "is not looked at without the packages that are missing")
    finally:
        log.setLevel(level)


def _of_repository(settings: Settings) -> Iterator[Finding]:
    of_signatures = as_finding("signatures", lambda: signatures(settings))
    yield from of_signatures
    if any(found.level == PROBLEM for found in of_signatures):
        yield Finding(PROBLEM, "repository", "is not looked at before that is mended: all of it would be refused")
    else:
        yield from as_finding("repository", lambda: models(settings))


def _of_machine(settings: Settings, processes: Processes) -> Iterator[Finding]:
    yield from as_finding("threads", machine.threads)
    yield from as_finding("files", machine.files)
    yield from as_finding("cores", lambda: machine.cores(settings, processes.workers))
    yield from as_finding("clock", machine.clock)


def _of_ports(settings: Settings, processes: Processes) -> Iterator[Finding]:
    yield from listening.port(settings, settings.grpc_port, "gRPC", "--grpc-port")
    if not processes.is_without_http:
        yield from listening.http(settings, processes.http_port, processes.usual_http_port, processes.http_packages)
    if processes.metrics_port is not None:
        yield from listening.port(settings, processes.metrics_port, "metrics", "--metrics-port")
        yield from listening.plain_metrics(settings)
    http = processes.usual_http_port if processes.http_port is None else processes.http_port
    chosen = [settings.grpc_port, *([] if processes.is_without_http else [http])]
    chosen += [] if processes.metrics_port is None else [processes.metrics_port]
    for number in sorted({number for number in chosen if number and chosen.count(number) > 1}):
        remedy = "choose others with --grpc-port, --http-port and --metrics-port"
        yield Finding(PROBLEM, "ports", f"{number} is chosen for more than one protocol", remedy)
