"""How `rnnserve serve` runs the server: its processes, where HTTP and metrics are had, and its log."""

import dataclasses

from rnnserve.common.log_format import LOG_FORMATS
from rnnserve.server.settings.option import option, read_count, read_port
from rnnserve.server.workers.supervisor import worker_count

__all__ = ["HTTP_PORT", "CommandSettings"]

HTTP_PORT = 8000
"""Where users of the protocol look for HTTP."""


@dataclasses.dataclass(frozen=True)
class CommandSettings:
    """Options of the command beside those of the server itself, which are `Settings`.

    Attributes:
        workers: Processes that share the port.
        http_port: Port for HTTP; 0 for any that is free, None for `HTTP_PORT` where it can be had.
        no_http: Serve gRPC alone.
        http_workers: Processes that speak HTTP.
        http_allow_host: Names that a proxy on this machine passes on in the header Host.
        metrics_port: Port for metrics beside that of HTTP; None for none.
        no_triton_metrics: Leave out the names of Triton's metrics.
        log_level: Least level of what is logged.
        log_format: Form of the log's lines.
    """

    workers: int = dataclasses.field(
        default=1,
        metadata=option(
            "processes that share the port; auto is one a core. One that dies or hangs is replaced",
            worker_count,
            metavar="N",
        ),
    )
    http_port: int | None = dataclasses.field(
        default=None,
        metadata=option(
            f"port for HTTP (REST v2); 0 takes a free one. Where not given: {HTTP_PORT}, if it is free and the extra "
            "`web` is installed",
            read_port,
            metavar="PORT",
        ),
    )
    no_http: bool = dataclasses.field(default=False, metadata=option("serve gRPC alone"))
    http_workers: int = dataclasses.field(
        default=1,
        metadata=option("processes that speak HTTP; one that dies is replaced", read_count, metavar="N"),
    )
    http_allow_host: tuple[str, ...] = dataclasses.field(
        default=(),
        metadata=option(
            "name that a proxy on this machine passes on in the header Host; may be given several times",
            metavar="NAME",
            is_repeated=True,
        ),
    )
    metrics_port: int | None = dataclasses.field(
        default=None,
        metadata=option(
            "a port of its own for /metrics, beside that of HTTP; 0 takes a free one. Where not given: none",
            read_port,
            metavar="PORT",
        ),
    )
    no_triton_metrics: bool = dataclasses.field(
        default=False, metadata=option("leave out the names of Triton's metrics, nv_inference_…")
    )
    log_level: str = dataclasses.field(
        default="info",
        metadata=option("how much to log on standard error", choices=("debug", "info", "warning", "error")),
    )
    log_format: str = dataclasses.field(
        default=LOG_FORMATS[0],
        metadata=option("lines of text, or a JSON object a line", choices=tuple(LOG_FORMATS)),
    )
