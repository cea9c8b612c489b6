"""The options of the server and of `rnnserve serve`, each declared once.

A field that is made by `_option(…)` is an option: its name, type, default, group and help make its place on the command
line, its variable, its key in a file and its row in the documentation. Fields without one are set by code alone.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnserve.common.cgroup import usable_cores
from rnnserve.common.log_format import LOG_FORMATS
from rnnserve.common.request_lines import LOG_REQUESTS
from rnnserve.protos.names import is_model_name
from rnnserve.server.errors import StartError

if TYPE_CHECKING:
    from rnnserve.common.tls_identity import TlsFiles

__all__ = ["GROUPS", "HTTP_PORT", "CommandSettings", "Option", "Settings"]

GROUPS = ("listen", "models", "TLS and access", "limits", "sequences", "stopping", "logging")
_LISTEN, _MODELS, _ACCESS, _LIMITS, _SEQUENCES, _STOPPING, _LOGGING = GROUPS

HTTP_PORT = 8000
"""Where users of the protocol look for HTTP."""


@dataclasses.dataclass(frozen=True)
class Option:
    """How a field appears on the command line: as `--max-queue` for `max_queue`. `read` raises ValueError."""

    group: str  # its group in `--help`, one of `GROUPS`
    help: str
    read: Callable[[str], object] = str
    choices: tuple[str, ...] = ()  # the values that are accepted; empty for any that `read` accepts
    metavar: str | None = None  # what `--help` calls its value
    is_positional: bool = False  # whether it is given by its place instead of by its name
    is_repeated: bool = False  # whether it may be given several times: the field is a tuple


def _option(
    group: str,
    default: Any,  # noqa: ANN401 - of the field's type
    help: str,
    read: Callable[[str], object] = str,
    **more: Any,  # noqa: ANN401 - those of `Option`
) -> Any:  # noqa: ANN401 - likewise
    """Make a field that is an option."""
    made = Option(group, help, read, **{"metavar": _METAVARS.get(read)} | more)
    return dataclasses.field(default=default, metadata={"option": made})


def _read_model_name(text: str) -> str:
    if not is_model_name(text):
        raise ValueError(f"{text!r} is not a model's name: letters, digits, _, . and -, not beginning with . or -")
    return text


def _read_port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= port <= 65535:
        raise ValueError(f"{text!r} is not a port: 0 to 65535")
    return port


def _read_count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ValueError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _read_workers(text: str) -> int:
    if text == "auto":
        return usable_cores()
    try:
        return _read_count(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither auto nor a number of 1 or more") from None


def _read_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{text!r} is not a number of seconds")
    return seconds


def _read_period(text: str) -> float:
    seconds = _read_seconds(text)
    if not seconds:
        raise ValueError("the period must be more than 0 seconds")
    return seconds


_METAVARS: dict[Callable[[str], object], str] = {
    _read_count: "N",
    _read_period: "SECONDS",
    _read_port: "PORT",
    _read_seconds: "SECONDS",
    _read_workers: "N",
    Path: "FILE",
}
"""What `--help` calls the values that these read."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to serve. Options are described at each field, and in docs/reference/options.md. Raises StartError."""

    repository: Path = _option(
        _MODELS,
        Path("repository"),
        "folder with the models, as `rnnserve export` fills it",
        Path,
        metavar="REPOSITORY",
        is_positional=True,
    )
    host: str = _option(_LISTEN, "127.0.0.1", "name or address to listen on")
    grpc_port: int = _option(_LISTEN, 8001, "port for gRPC; 0 takes a free one", _read_port)
    provider: str = _option(
        _MODELS, "auto", "where models run; auto is CUDA where it works", choices=("cpu", "cuda", "auto")
    )
    plain: bool = _option(
        _LISTEN,
        False,
        "serve without the fast path, through grpcio's public API alone: slower, for versions of grpcio with which the "
        "fast path does not work",
    )
    _: dataclasses.KW_ONLY
    transport: str = _option(
        _LISTEN,
        "fast",
        "what carries ModelInfer: native is gRPC in Rust (extra `native`). It is faster with many requests in flight, "
        "has no TLS, and limits neither the size of a message nor the memory of unread responses, so use it in trusted "
        "networks only",
        choices=("fast", "native"),
    )
    model_name: str | None = _option(
        _MODELS, None, "serve one model, under this name: REPOSITORY is its folder", _read_model_name, metavar="NAME"
    )
    threads: int = _option(
        _MODELS,
        1,
        "threads of a run, for large models on machines with cores to spare; each model has as many of its own. Small "
        "models gain nothing. Workers times threads should be no more than the cores. With more than one, an answer's "
        "bits may depend on the others in its batch: each version is tried with as many",
        _read_count,
    )
    allow_unproven: bool = _option(
        _MODELS, False, "serve versions, too, that were adopted from ONNX files and never compared with their framework"
    )
    model_control: str = _option(
        _MODELS,
        "none",
        "what changes the models that serve: poll is the repository's folder, explicit is RepositoryModelLoad and "
        "RepositoryModelUnload",
        choices=("none", "poll", "explicit"),
    )
    poll: float = _option(
        _MODELS, 2.0, "with --model-control poll: seconds between two looks at the repository's folder", _read_period
    )
    load_model: str = _option(
        _MODELS,
        "",
        "with --model-control explicit: models to load at the start, separated by commas; * for all",
        metavar="NAMES",
    )
    ready: str = _option(
        _MODELS,
        "any",
        "when the server as a whole is ready, once all its models have been tried: any while one of them serves, all "
        "only while every one does",
        choices=("any", "all"),
    )
    load_timeout: float = _option(
        _MODELS,
        60.0,
        "seconds that a version may take to be tried, in a process of its own, before it serves. Beyond it: "
        "UNAVAILABLE with one line; all others serve",
        _read_seconds,
    )
    require_signature: tuple[Path, ...] = _option(
        _MODELS,
        (),
        "serve only versions that are signed (`rnnserve sign`) with this key: public key in PEM, of the elliptic curve "
        "P-256 or P-384; may be given several times",
        Path,
        is_repeated=True,
    )

    tls_certificate: Path | None = _option(_ACCESS, None, "serve over TLS: certificate chain in PEM", Path)
    tls_key: Path | None = _option(_ACCESS, None, "serve over TLS: private key in PEM", Path)
    tls_client_ca: Path | None = _option(
        _ACCESS, None, "admit only clients with a certificate of these authorities: certificates in PEM", Path
    )
    tokens: Path | None = _option(
        _ACCESS,
        None,
        "answer only calls that bring a token of this file, which `rnnserve token new` writes; it is read again when "
        "it changes",
        Path,
    )
    client_roles: Path | None = _option(
        _ACCESS,
        None,
        "with --tls-client-ca: answer only calls of clients whose certificates this file gives a role; it is read "
        "again when it changes",
        Path,
    )

    max_queue: int = _option(
        _LIMITS,
        4096,
        "requests that may wait for each model, a quarter of them of one connection; as many more of its sequences for "
        "their turn. Beyond it: RESOURCE_EXHAUSTED at once",
        _read_count,
    )
    max_wait: float = _option(
        _LIMITS,
        10.0,
        "seconds that the waiting requests of a model may take, by its measured costs. Beyond it: RESOURCE_EXHAUSTED "
        "at once",
        _read_seconds,
    )
    max_message_bytes: int = _option(
        _LIMITS,
        16 << 20,
        "bytes of a request, as sent and decompressed; the outputs of a response may have 4 times as many, and all "
        "requests and responses in hand 18 times. Beyond it: INVALID_ARGUMENT; as sent a quarter more, and gRPC itself "
        "says RESOURCE_EXHAUSTED",
        _read_count,
    )
    max_sequence: int = _option(
        _LIMITS, 4096, "steps of a sequence of a request. Beyond it: INVALID_ARGUMENT", _read_count
    )
    allow_non_finite: bool = _option(_LIMITS, False, "let NaN and infinity through to the models")

    session_key: Path | None = _option(
        _SEQUENCES,
        None,
        "seal the states of sessions, for clients that ask for it: file with a key of 32 random bytes; of several, one "
        "after another, the first seals and all open",
        Path,
    )
    max_sequences: int = _option(
        _SEQUENCES,
        16384,
        "sequences whose states are kept, with 16 KiB for each, 256 MiB at least, together; of one connection a "
        "quarter, of one address three eighths. Beyond it: RESOURCE_EXHAUSTED; no other is dropped for it",
        _read_count,
    )
    sequence_idle: float = _option(
        _SEQUENCES,
        60.0,
        "seconds without a request after which a sequence is dropped. Beyond it: the next request is NOT_FOUND",
        _read_seconds,
    )
    share_sequences: bool = _option(
        _SEQUENCES,
        False,
        "let any connection continue, replace and end any sequence whose id it names, as in Triton; else each "
        "connection has ids of its own, and a sequence_key leads to a sequence from any",
    )

    drain: float = _option(
        _STOPPING,
        0.0,
        "how long requests are answered after SIGTERM as before, while health checks are told NOT_SERVING, so that "
        "balancers send no new ones",
        _read_seconds,
    )
    grace: float = _option(_STOPPING, 5.0, "how long requests in progress may take to end after SIGTERM", _read_seconds)
    max_connection_age: float | None = _option(
        _STOPPING,
        None,
        "age at which a connection is renewed, without failing a request, so that clients move to other workers; 0 for "
        "never. Where not given: 60 with workers, else never",
        _read_seconds,
    )

    log_requests: str = _option(
        _LOGGING,
        LOG_REQUESTS[0],
        "which requests have a line in the log; of errors some of each reason",
        choices=LOG_REQUESTS,
    )
    traces: bool = _option(
        _LOGGING, False, "export traces (OpenTelemetry) as the variables OTEL_… say; needs the extra `otel`"
    )

    graph: str = "auto"
    """Which graph of a model runs, if it has two: "native" (model.onnx) or "scan" (model.scan.onnx); "auto" is what was
    decided when the version was published."""
    max_run: float = 8.0
    """Seconds that a run may take beside ten times its measured cost. Beyond it: the server isn't ready nor live, and a
    worker is replaced."""
    max_load_bytes: int = 512 << 20
    """Bytes of memory that a version may take while it is tried, beyond eight times its files and 16 MiB for each of
    `threads` after the first. Beyond it: UNAVAILABLE with one line."""
    max_sequence_bytes: int | None = None
    """Bytes of the states of sequences that are kept; None for `sequence_bytes`."""
    max_batch: int = 16384
    """Rows (sequences) of a request. Beyond it: INVALID_ARGUMENT."""
    max_streams: int = 8192
    """Streams (calls of ModelStreamInfer) that are open, half of them of one connection. Beyond it:
    RESOURCE_EXHAUSTED."""
    session_age: float = 86400.0
    """Seconds after which a sealed state is too old to be continued. Beyond it: FAILED_PRECONDITION."""
    share_port: bool = False
    """Let other processes listen on the port too, as workers do."""
    sharers: int = 1
    """Number of processes, this one included, that share what a limit on memory leaves."""
    http_port: int | None = None
    """Where HTTP is served beside this server; None for nowhere."""
    private_sockets: Path | None = None
    """Folder for a socket of this server, which no other user can open: calls on it are those of the HTTP gateway."""

    def __post_init__(self) -> None:
        _check_choices(self)
        has_tls, asks_certificates = self.tls_certificate is not None, self.tls_client_ca is not None
        mistakes = {
            f"graph {self.graph!r}: choose from native, scan, auto": self.graph not in ("native", "scan", "auto"),
            "TLS needs both --tls-certificate and --tls-key": has_tls != (self.tls_key is not None),
            "--tls-client-ca needs TLS: --tls-certificate and --tls-key": asks_certificates and not has_tls,
            "--tokens and --client-roles exclude each other: a caller is known by its token, or by its certificate": (
                self.tokens is not None and self.client_roles is not None
            ),
            "--client-roles needs --tls-client-ca: without, clients show no certificate, or one that anybody signed": (
                self.client_roles is not None and not asks_certificates
            ),
            "--transport native has no TLS: leave out --tls-certificate, or leave out --transport": (
                self.transport == "native" and has_tls
            ),
            "--transport native doesn't renew connections: leave out --max-connection-age": (
                self.transport == "native" and bool(self.max_connection_age)
            ),
            "--plain and --transport native exclude each other": self.transport == "native" and self.plain,
            "--load-model needs --model-control explicit; otherwise all models are loaded": (
                self.load_model and self.model_control != "explicit"
            ),
        }
        for words, is_made in mistakes.items():
            if is_made:
                raise StartError(words)

    @property
    def max_response_bytes(self) -> int:
        """Bytes of the outputs of a response: four times `max_message_bytes`."""
        return 4 * self.max_message_bytes

    @property
    def max_held_bytes(self) -> int:
        """Bytes of requests in hand and, twice, of unsent responses. Half is one connection's: its largest response."""
        return max(18 * self.max_message_bytes, 4 * self.max_response_bytes + (2 << 20))

    @property
    def sequence_bytes(self) -> int:
        """Bytes of the states of sequences that are kept: 16 KiB for each of `max_sequences`, and 256 MiB at least."""
        return self.max_sequence_bytes or max(self.max_sequences << 14, 256 << 20)

    @property
    def wanted_models(self) -> list[str] | None:
        """The names of the models to load at the start; None for all."""
        if self.model_control != "explicit" or self.load_model == "*":
            return None
        return [name for name in self.load_model.split(",") if name]

    @property
    def tls_files(self) -> "TlsFiles | None":
        """The files for TLS; None without it."""
        if self.tls_certificate is None or self.tls_key is None:
            return None
        from rnnserve.common.tls_identity import TlsFiles  # imports ssl, which no help needs

        return TlsFiles(self.tls_certificate, self.tls_key, self.tls_client_ca)

    @property
    def access_file(self) -> Path | None:
        """The file that says whose calls are answered; None if all are."""
        return self.client_roles if self.tokens is None else self.tokens

    @property
    def connection_age(self) -> float:
        """Seconds after which a connection is renewed, 0 for never; with workers 60, so that clients move to others."""
        if self.max_connection_age is None:
            return 60.0 if self.share_port else 0.0
        return self.max_connection_age

    def check_metrics_port(self, port: int | None) -> None:
        """Raise StartError if scrapers cannot show who they are on that port."""
        if port is not None and self.client_roles is not None:
            raise StartError(
                "--metrics-port is without TLS, so that no scraper can show a certificate there (--client-roles): "
                "scrape /metrics on the port of HTTP, or give --tokens in the place of --client-roles"
            )


@dataclasses.dataclass(frozen=True)
class CommandSettings:
    """How `rnnserve serve` runs the server: its processes, where HTTP and metrics are had, and its log."""

    workers: int = _option(
        _LISTEN,
        1,
        "processes that share the port; auto is one a core. One that dies or hangs is replaced",
        _read_workers,
    )
    http_port: int | None = _option(
        _LISTEN,
        None,
        f"port for HTTP (REST v2); 0 takes a free one. Where not given: {HTTP_PORT}, if it is free and the extra `web` "
        "is installed",
        _read_port,
    )
    no_http: bool = _option(_LISTEN, False, "serve gRPC alone")
    http_workers: int = _option(_LISTEN, 1, "processes that speak HTTP; one that dies is replaced", _read_count)
    http_allow_host: tuple[str, ...] = _option(
        _LISTEN,
        (),
        "name that a proxy on this machine passes on in the header Host; may be given several times",
        metavar="NAME",
        is_repeated=True,
    )
    http_allow_origin: tuple[str, ...] = _option(
        _LISTEN,
        (),
        "origin of another site whose pages may open WebSockets, such as https://app.example; may be given several "
        "times",
        metavar="ORIGIN",
        is_repeated=True,
    )
    metrics_port: int | None = _option(
        _LISTEN,
        None,
        "another port for /metrics, beside that of HTTP; 0 takes a free one. Where not given: none",
        _read_port,
    )
    log_level: str = _option(
        _LOGGING, "info", "how much to log on standard error", choices=("debug", "info", "warning", "error")
    )
    log_format: str = _option(
        _LOGGING, LOG_FORMATS[0], "lines of text, or a JSON object a line", choices=tuple(LOG_FORMATS)
    )

    def __post_init__(self) -> None:
        _check_choices(self)


def _check_choices(settings: Settings | CommandSettings) -> None:
    for field in dataclasses.fields(settings):
        choices = field.metadata["option"].choices if "option" in field.metadata else ()
        if choices and (value := getattr(settings, field.name)) not in choices:
            raise StartError(f"--{field.name.replace('_', '-')} {value!r}: choose from {', '.join(choices)}")
