"""The options of the server and of `rnnserve serve`, each declared once.

A field created by `_option(…)` is an option. Its name, type, default, group and help define its command-line argument,
environment variable, key in an options file, and row in the documentation. Other fields can only be set in code.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnserve.common.cgroup import usable_cores
from rnnserve.common.log_lines import LOG_FORMATS, LOG_REQUESTS
from rnnserve.protos.names import is_model_name
from rnnserve.server.errors import StartError

if TYPE_CHECKING:
    from rnnserve.common.tls_identity import TlsFiles

__all__ = ["GROUPS", "HTTP_PORT", "CommandSettings", "Option", "Settings"]

GROUPS = ("listen", "models", "TLS and access", "limits", "sequences", "stopping", "logging")
_LISTEN, _MODELS, _ACCESS, _LIMITS, _SEQUENCES, _STOPPING, _LOGGING = GROUPS

HTTP_PORT = 8000
"""The usual port of HTTP for this protocol."""


@dataclasses.dataclass(frozen=True)
class Option:
    """How a field appears on the command line: `--max-queue` for `max_queue`. `read` raises ValueError."""

    group: str  # its group in `--help` (see `GROUPS`)
    help: str
    read: Callable[[str], object] = str
    choices: tuple[str, ...] = ()  # the accepted values (if empty, all values that `read` accepts)
    metavar: str | None = None  # placeholder of its value in `--help`
    is_positional: bool = False  # whether it is a positional argument
    is_repeated: bool = False  # whether it may be repeated, which makes the field a tuple


def _option(
    group: str,
    default: Any,  # noqa: ANN401 - of the field's type
    help: str,
    read: Callable[[str], object] = str,
    **more: Any,  # noqa: ANN401 - the fields of `Option`
) -> Any:  # noqa: ANN401 - of the field's type
    made = Option(group, help, read, **{"metavar": _METAVARS.get(read)} | more)
    return dataclasses.field(default=default, metadata={"option": made})


def _read_model_name(text: str) -> str:
    if not is_model_name(text):
        raise ValueError(
            f"{text!r} is not a valid model name; expected letters, digits, _, . and -, and no . or - at the start"
        )
    return text


def _read_port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= port <= 65535:
        raise ValueError(f"{text!r} is not a port; expected 0 to 65535")
    return port


def _read_count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ValueError(f"{text!r} is not an integer of 1 or more")
    return int(text)


def _read_workers(text: str) -> int:
    if text == "auto":
        return usable_cores()
    try:
        return _read_count(text)
    except ValueError:
        raise ValueError(f"expected auto or an integer of 1 or more, got {text!r}") from None


def _read_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{text!r} is not a number of seconds")
    return seconds


_METAVARS: dict[Callable[[str], object], str] = {
    _read_count: "N",
    _read_port: "PORT",
    _read_seconds: "SECONDS",
    _read_workers: "N",
    Path: "FILE",
}
"""Placeholders in `--help` for the values of these readers."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to serve. docs/reference/commands.md describes the options. Raises StartError."""

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
        _MODELS, "auto", "device for the models; auto uses CUDA if it works", choices=("cpu", "cuda", "auto")
    )
    plain: bool = _option(
        _LISTEN,
        False,
        "serve without the fast path, using only grpcio's public API: slower, but works with versions of grpcio "
        "that the fast path does not support",
    )
    _: dataclasses.KW_ONLY
    transport: str = _option(
        _LISTEN,
        "fast",
        "implementation of ModelInfer; native is gRPC in Rust (extra `native`). It is faster with many requests "
        "in flight, but has no TLS, and does not limit the size of messages or the memory of unread responses, "
        "so use it only in trusted networks",
        choices=("fast", "native"),
    )
    model_name: str | None = _option(
        _MODELS,
        None,
        "serve a single model under this name; REPOSITORY is its folder",
        _read_model_name,
        metavar="NAME",
    )
    threads: int = _option(
        _MODELS,
        1,
        "threads per inference call, for large models on machines with spare cores; each model has its own "
        "threads. Small models gain nothing. Keep workers times threads within the number of cores. With more "
        "than one thread, the bits of a response may depend on the other requests in its batch; each version is "
        "load-checked with this number",
        _read_count,
    )
    allow_unproven: bool = _option(
        _MODELS, False, "also serve versions that were imported from ONNX files and never compared with their framework"
    )
    model_control: str = _option(
        _MODELS,
        "none",
        "what can load and unload models at runtime: poll scans the repository's folder every 2 seconds, explicit "
        "means RepositoryModelLoad and RepositoryModelUnload",
        choices=("none", "poll", "explicit"),
    )
    load_model: str = _option(
        _MODELS,
        "",
        "with --model-control explicit: models to load at the start, separated by commas; * loads all",
        metavar="NAMES",
    )
    ready: str = _option(
        _MODELS,
        "any",
        "when the server as a whole is ready, after all of its models have been load-checked: any if one of them "
        "is served, all only if every one is served",
        choices=("any", "all"),
    )
    load_timeout: float = _option(
        _MODELS,
        60.0,
        "seconds for load-checking a version, in a separate process, before it is served. Beyond it: UNAVAILABLE "
        "for this version, while all others are served",
        _read_seconds,
    )
    require_signature: tuple[Path, ...] = _option(
        _MODELS,
        (),
        "serve only versions signed (`rnnserve sign`) with this key: a public key in PEM, elliptic curve P-256 "
        "or P-384; may be repeated",
        Path,
        is_repeated=True,
    )

    tls_certificate: Path | None = _option(_ACCESS, None, "serve over TLS: certificate chain in PEM", Path)
    tls_key: Path | None = _option(_ACCESS, None, "serve over TLS: private key in PEM", Path)
    tls_client_ca: Path | None = _option(
        _ACCESS, None, "accept only clients with a certificate of these authorities: certificates in PEM", Path
    )
    tokens: Path | None = _option(
        _ACCESS,
        None,
        "accept only calls with a token of this file, which `rnnserve token new` writes; it is reloaded when it "
        "changes",
        Path,
    )
    client_roles: Path | None = _option(
        _ACCESS,
        None,
        "with --tls-client-ca: accept only calls of clients whose certificates have a role in this file; it is "
        "reloaded when it changes",
        Path,
    )

    max_queue: int = _option(
        _LIMITS,
        4096,
        "pending requests per model, at most a quarter of them per connection; its sequences may have as many "
        "more that wait for their turn. Beyond it: RESOURCE_EXHAUSTED at once",
        _read_count,
    )
    max_wait: float = _option(
        _LIMITS,
        10.0,
        "seconds that the pending requests of a model may take, by its measured costs. Beyond it: "
        "RESOURCE_EXHAUSTED at once",
        _read_seconds,
    )
    max_message_bytes: int = _option(
        _LIMITS,
        16 << 20,
        "bytes of a request, both as sent and decompressed; the outputs of a response may have 4 times as many, "
        "and all requests and responses in flight 18 times. Beyond it: INVALID_ARGUMENT, or RESOURCE_EXHAUSTED "
        "from gRPC if the request as sent exceeds it by more than a quarter",
        _read_count,
    )
    max_sequence: int = _option(
        _LIMITS, 4096, "steps of a sequence in a request. Beyond it: INVALID_ARGUMENT", _read_count
    )
    allow_non_finite: bool = _option(_LIMITS, False, "allow NaN and infinity in inputs and outputs")

    session_key: Path | None = _option(
        _SEQUENCES,
        None,
        "issue encrypted state tokens for sessions to clients that request them: file with a key of 32 random "
        "bytes. If the file has several keys in a row, the first encrypts and all decrypt",
        Path,
    )
    max_sequences: int = _option(
        _SEQUENCES,
        16384,
        "sequences with server-side state. Their states together may take 16 KiB for each, at least 256 MiB; one "
        "connection may use a quarter, and one address three eighths. Beyond it: RESOURCE_EXHAUSTED, and no "
        "other sequence is dropped",
        _read_count,
    )

    drain: float = _option(
        _STOPPING,
        0.0,
        "seconds after SIGTERM in which requests are still served while health checks report NOT_SERVING, so "
        "that load balancers send no new ones",
        _read_seconds,
    )
    grace: float = _option(_STOPPING, 5.0, "seconds that requests in progress may take after SIGTERM", _read_seconds)
    max_connection_age: float | None = _option(
        _STOPPING,
        None,
        "age in seconds at which a connection is renewed, without failing requests, so that clients move to "
        "other workers; 0 for never. Default: 60 with workers, otherwise never",
        _read_seconds,
    )

    log_requests: str = _option(
        _LOGGING,
        LOG_REQUESTS[0],
        "which requests to log; errors are sampled by reason",
        choices=LOG_REQUESTS,
    )

    graph: str = "auto"
    """Which graph to run if a model has two: "native" (model.onnx) or "scan" (model.scan.onnx). "auto" uses the choice
    made at publication."""
    poll: float = 2.0
    """Seconds between scans of the repository's folder with `model_control` "poll"."""
    max_run: float = 8.0
    """Seconds that an inference call may take in addition to ten times its measured cost. Beyond it: the server is
    neither ready nor live, and a worker is replaced."""
    max_load_bytes: int = 512 << 20
    """Bytes of memory for load-checking a version, in addition to eight times its files and 16 MiB for each of
    `threads` after the first. Beyond it: UNAVAILABLE, because the version isn't served."""
    sequence_idle: float = 60.0
    """Seconds without a request after which a sequence is dropped. Beyond it: the next request is NOT_FOUND."""
    max_sequence_bytes: int | None = None
    """Maximum bytes of server-side sequence states; None for `sequence_bytes`."""
    max_batch: int = 16384
    """Rows (sequences) of a request. Beyond it: INVALID_ARGUMENT."""
    max_streams: int = 8192
    """Streams (calls of ModelStreamInfer) open at once, at most half of them per connection. Beyond it:
    RESOURCE_EXHAUSTED."""
    session_age: float = 86400.0
    """Seconds until an encrypted state token expires. Beyond it: FAILED_PRECONDITION."""
    share_port: bool = False
    """Let other processes, such as workers, listen on the same port."""
    sharers: int = 1
    """Number of processes, including this one, that share the available memory."""
    http_port: int | None = None
    """Port of the HTTP gateway for this server, or None."""
    private_sockets: Path | None = None
    """Folder for a socket that no other user can open. Calls on it count as calls of the HTTP gateway."""

    def __post_init__(self) -> None:
        _check_choices(self)
        has_tls, asks_certificates = self.tls_certificate is not None, self.tls_client_ca is not None
        mistakes = {
            f"graph {self.graph!r}: choose from native, scan, auto": self.graph not in ("native", "scan", "auto"),
            "TLS needs both --tls-certificate and --tls-key": has_tls != (self.tls_key is not None),
            "--tls-client-ca needs TLS: --tls-certificate and --tls-key": asks_certificates and not has_tls,
            "--tokens and --client-roles exclude each other: a caller is identified by its token or by its "
            "certificate": (self.tokens is not None and self.client_roles is not None),
            "--client-roles needs --tls-client-ca: without it, client certificates are not checked": (
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
        """Maximum bytes of the outputs of a response: four times `max_message_bytes`."""
        return 4 * self.max_message_bytes

    @property
    def max_held_bytes(self) -> int:
        """Maximum bytes of requests in flight plus twice the unsent responses. One connection may use half."""
        return max(18 * self.max_message_bytes, 4 * self.max_response_bytes + (2 << 20))

    @property
    def sequence_bytes(self) -> int:
        """Maximum bytes of server-side sequence states: 16 KiB for each of `max_sequences`, at least 256 MiB."""
        return self.max_sequence_bytes or max(self.max_sequences << 14, 256 << 20)

    @property
    def wanted_models(self) -> list[str] | None:
        """Names of the models to load at the start, or None for all."""
        if self.model_control != "explicit" or self.load_model == "*":
            return None
        return [name for name in self.load_model.split(",") if name]

    @property
    def tls_files(self) -> "TlsFiles | None":
        """The TLS files, or None without TLS."""
        if self.tls_certificate is None or self.tls_key is None:
            return None
        from rnnserve.common.tls_identity import TlsFiles  # imports ssl, which `--help` doesn't need

        return TlsFiles(self.tls_certificate, self.tls_key, self.tls_client_ca)

    @property
    def access_file(self) -> Path | None:
        """The file that grants access, or None if access is unrestricted."""
        return self.client_roles if self.tokens is None else self.tokens

    @property
    def connection_age(self) -> float:
        """Seconds after which a connection is renewed, or 0 for never. The default is 60 with workers."""
        if self.max_connection_age is None:
            return 60.0 if self.share_port else 0.0
        return self.max_connection_age

    def check_metrics_port(self, port: int | None) -> None:
        """Raise StartError if scrapers would need a certificate, because the metrics port has no TLS."""
        if port is not None and self.client_roles is not None:
            raise StartError(
                "--metrics-port has no TLS, so scrapers cannot send the certificate that --client-roles requires. "
                "Scrape /metrics on the HTTP port, or use --tokens instead of --client-roles"
            )


@dataclasses.dataclass(frozen=True)
class CommandSettings:
    """How `rnnserve serve` runs the server: its processes, the ports for HTTP and metrics, and its log."""

    workers: int = _option(
        _LISTEN,
        1,
        "processes that share the port, and as many for HTTP; auto starts one per core. A process that dies or hangs "
        "is replaced",
        _read_workers,
    )
    http_port: int | None = _option(
        _LISTEN,
        None,
        f"port for HTTP (REST v2); 0 takes a free one. Default: {HTTP_PORT}, if it is free and the extra `web` is "
        "installed",
        _read_port,
    )
    no_http: bool = _option(_LISTEN, False, "serve gRPC alone")
    http_allow_host: tuple[str, ...] = _option(
        _LISTEN,
        (),
        "host name that a proxy on this machine sends in the Host header, or origin of another site whose pages may "
        "open WebSockets, such as https://app.example; may be repeated",
        metavar="NAME",
        is_repeated=True,
    )
    metrics_port: int | None = _option(
        _LISTEN,
        None,
        "separate port for /metrics, in addition to the HTTP port; 0 takes a free one. Default: none",
        _read_port,
    )
    log_level: str = _option(
        _LOGGING, "info", "log level on standard error", choices=("debug", "info", "warning", "error")
    )
    log_format: str = _option(
        _LOGGING, LOG_FORMATS[0], "log lines as text, or one JSON object per line", choices=tuple(LOG_FORMATS)
    )

    def __post_init__(self) -> None:
        _check_choices(self)


def _check_choices(settings: Settings | CommandSettings) -> None:
    for field in dataclasses.fields(settings):
        choices = field.metadata["option"].choices if "option" in field.metadata else ()
        if choices and (value := getattr(settings, field.name)) not in choices:
            raise StartError(f"--{field.name.replace('_', '-')} {value!r}: choose from {', '.join(choices)}")
