"""Every option of the server, declared once.

A field of `Settings` is an option's name, type, default, documentation and place on the command lines of `rnnserve
serve` and of its workers; the whole object is passed to where an option is used. A new option is one field and its use.
"""

import dataclasses
from pathlib import Path
from typing import Self

from rnnserve.common.request_lines import LOG_REQUESTS
from rnnserve.server.access_settings import AccessSettings
from rnnserve.server.errors import StartError
from rnnserve.server.option import option, read_count, read_model_name, read_period, read_port, read_seconds
from rnnserve.server.signature_settings import SignatureSettings

__all__ = ["Settings"]

_SHARED_CONNECTION_AGE = 60.0
"""Seconds that a connection to one of several workers lasts: after so long at most, the clients of a worker that leaves
are with others. A new connection costs its first request about 1 ms."""

_RESPONSE_HEAD = 1 << 20
"""Bytes of a response beside its outputs, at most."""


@dataclasses.dataclass(frozen=True)
class Settings(AccessSettings, SignatureSettings):
    """How to serve; whose calls are answered is in `AccessSettings`, which versions in `SignatureSettings`.

    Attributes:
        repository: The folder with the models.
        model_name: The name of the one model whose folder `repository` is; None where it holds a folder for each.
        host: Name or address to listen on.
        grpc_port: 0 for any that is free.
        provider: "cpu", "cuda", or "auto" for CUDA where a trial of it succeeds.
        graph: Which graph of a version serves: "native" is model.onnx; "scan" is model.scan.onnx, on the CPU and where
            there is one; "auto" is the one that the manifest says.
        threads: Threads of a run of each model, onnxruntime's intra-op threads. With more than one, a kernel may divide
            its rows by their number, and an answer's bits may depend on the others in its batch: each version is tried
            with as many.
        transport: "lane", "public", or "auto" for the lane where grpcio has what it needs.
        tls_certificate: File in PEM with the certificate chain; None for a port without TLS.
        tls_key: File in PEM with the private key; given together with `tls_certificate`.
        tls_client_ca: File in PEM with the authorities of client certificates (mutual TLS): clients without a
            certificate of one of these cannot connect. None admits every client.
        session_key: File with keys that seal the states of sessions, 32 random bytes each: the first seals, all open.
        session_age: Seconds after which a sealed state is too old to be continued.
        max_queue: Number of requests that may wait for each model; as many more of its sequences may wait for their
            turn, and on the public transport as many calls of all models for a thread that reads them.
        max_wait: Seconds that what waits for a model may take, as estimated from measured costs.
        max_message_bytes: Largest request, in bytes as sent.
        max_response_bytes: Largest response, in bytes of its outputs.
        max_held_bytes: Bytes of requests in hand and, twice, of responses not yet sent; of one connection, half.
        max_batch: Most rows (sequences) in one request.
        max_sequence: Most steps of one sequence.
        max_sequences: Sequences whose states are kept; of one connection, half.
        max_sequence_bytes: Bytes of these states; of one connection, half.
        sequence_idle: Seconds without a request after which a sequence is dropped.
        share_sequences: Let any connection continue any sequence whose id it names, as in Triton.
        max_streams: Open calls of ModelStreamInfer.
        allow_non_finite: Let NaN and infinity through to the models.
        allow_unproven: Serve versions, too, that were adopted from an ONNX file and not compared with its framework.
        model_control: What changes the models that serve: "none", "poll" for the repository's folder, or "explicit" for
            RepositoryModelLoad and RepositoryModelUnload.
        poll: Seconds between two looks at the folder, with `model_control` "poll".
        ready: When the server as a whole is ready: "any" while one of its models serves, "all" only while all do.
        load_model: With `model_control` "explicit", the names of the models to load at the start, separated by commas;
            "*" for all.
        load_timeout: Seconds that a version may take to be tried, in a process of its own, before it serves.
        max_load_bytes: Memory that a version may take in that process, in bytes, beyond eight times its files.
        drain: Seconds for which everything is answered after the server was told to stop, while health checks are told
            that it does not serve. Of the command only.
        grace: Seconds that requests in progress may take to end when the server stops.
        max_connection_age: Seconds, give or take a tenth, after which a client is asked to connect anew. None is a
            minute where workers share the port, and no limit elsewhere; 0 is no limit.
        max_connection_age_grace: Seconds that calls in progress on such a connection may take to end; 0 for no limit.
        log_requests: Which requests have a line in the log: "errors", "none" or "all". Of the command only.
        traces: Export traces of requests. Of the command only.
        share_port: Let other processes listen on the port too, as workers do. Not an option of the command.
        sharers: Number of processes, this one included, that share what a limit on memory leaves. Not one, either.
        http_port: Where HTTP is served beside this server; None for nowhere. Nor this: the command's own is.
        private_sockets: Folder for a socket of this server, which no other user can open: calls on it are those of the
            HTTP front, and say whose they are. None for no such socket.

    Raises:
        StartError: If only one of certificate and key is given, or `tls_client_ca` without them; if `max_held_bytes`
            leaves a connection less than its largest message; or if an option lacks the one that it is for.
    """

    repository: Path = dataclasses.field(
        default=Path("repository"),
        metadata=option(
            "folder with the models, as `rnnserve export` fills it", Path, metavar="REPOSITORY", is_positional=True
        ),
    )
    host: str = dataclasses.field(default="127.0.0.1", metadata=option("name or address to listen on"))
    grpc_port: int = dataclasses.field(default=8001, metadata=option("port for gRPC; 0 takes a free one", read_port))
    provider: str = dataclasses.field(
        default="auto",
        metadata=option("where models run; auto is CUDA where it works", choices=("cpu", "cuda", "auto")),
    )
    transport: str = dataclasses.field(
        default="auto",
        metadata=option(
            "how inference requests are received; auto is the lane, the fast way, where grpcio has what it needs",
            choices=("auto", "lane", "public"),
        ),
    )
    _: dataclasses.KW_ONLY
    model_name: str | None = dataclasses.field(
        default=None,
        metadata=option("serve one model, under this name: REPOSITORY is its folder", read_model_name, metavar="NAME"),
    )
    graph: str = dataclasses.field(
        default="auto",
        metadata=option(
            "which graph of a model runs: native is model.onnx; scan is model.scan.onnx, which models with RNN "
            "operators have, for the CPU (native serves the others); auto is what was decided when the version was "
            "published. Their answers differ in the last bits",
            choices=("native", "scan", "auto"),
        ),
    )
    threads: int = dataclasses.field(
        default=1,
        metadata=option(
            "threads of a run, for large models on machines with cores to spare; each model has as many of its own. "
            "Small models gain nothing. Workers times threads should be no more than the cores",
            read_count,
        ),
    )
    tls_certificate: Path | None = dataclasses.field(
        default=None, metadata=option("serve over TLS: certificate chain in PEM", Path, metavar="FILE")
    )
    tls_key: Path | None = dataclasses.field(
        default=None, metadata=option("serve over TLS: private key in PEM", Path, metavar="FILE")
    )
    tls_client_ca: Path | None = dataclasses.field(
        default=None,
        metadata=option(
            "admit only clients with a certificate of these authorities: certificates in PEM", Path, metavar="FILE"
        ),
    )
    session_key: Path | None = dataclasses.field(
        default=None,
        metadata=option(
            "seal the states of sessions, for clients that ask for it: file with a key of 32 random bytes; of several, "
            "one after another, the first seals and all open",
            Path,
            metavar="FILE",
        ),
    )
    session_age: float = dataclasses.field(
        default=86400.0,
        metadata=option(
            "how long a sealed state may wait for the next step of its session", read_seconds, metavar="SECONDS"
        ),
    )
    max_queue: int = dataclasses.field(
        default=4096,
        metadata=option(
            "requests that may wait for each model; as many more of its sequences for their turn, and on the public "
            "transport as many calls of all models for a thread that reads them; more are refused at once",
            read_count,
        ),
    )
    max_wait: float = dataclasses.field(
        default=10.0,
        metadata=option(
            "seconds that what waits for a model may take, by its measured costs; more is refused at once",
            read_seconds,
            metavar="SECONDS",
        ),
    )
    max_message_bytes: int = dataclasses.field(
        default=16 << 20, metadata=option("largest request, in bytes", read_count)
    )
    max_response_bytes: int = dataclasses.field(
        default=64 << 20, metadata=option("largest response, in bytes of its outputs", read_count)
    )
    max_held_bytes: int = dataclasses.field(
        default=288 << 20,
        metadata=option(
            "bytes of requests in hand and responses not yet sent, half of it for one connection; more are refused",
            read_count,
        ),
    )
    max_batch: int = dataclasses.field(default=16384, metadata=option("most sequences in one request", read_count))
    max_sequence: int = dataclasses.field(default=4096, metadata=option("most steps of one sequence", read_count))
    max_sequences: int = dataclasses.field(
        default=16384,
        metadata=option(
            "sequences whose states are kept, half of them for one connection; more are refused", read_count
        ),
    )
    max_sequence_bytes: int = dataclasses.field(
        default=256 << 20,
        metadata=option("bytes of the states of sequences, half of them for one connection", read_count),
    )
    sequence_idle: float = dataclasses.field(
        default=60.0,
        metadata=option(
            "seconds without a request after which a sequence is dropped, and its states with it",
            read_seconds,
            metavar="SECONDS",
        ),
    )
    share_sequences: bool = dataclasses.field(
        default=False,
        metadata=option(
            "let any connection continue, replace and end any sequence whose id it names, as in Triton; else each "
            "connection has ids of its own, and a sequence_key leads to a sequence from any"
        ),
    )
    max_streams: int = dataclasses.field(
        default=8192,
        metadata=option("streams (calls of ModelStreamInfer) that may be open; more are refused", read_count),
    )
    allow_non_finite: bool = dataclasses.field(
        default=False, metadata=option("let NaN and infinity through to the models")
    )
    allow_unproven: bool = dataclasses.field(
        default=False,
        metadata=option(
            "serve versions, too, that were adopted from ONNX files and never compared with their framework"
        ),
    )
    model_control: str = dataclasses.field(
        default="none",
        metadata=option(
            "what changes the models that serve: poll is the repository's folder, explicit is RepositoryModelLoad and "
            "RepositoryModelUnload",
            choices=("none", "poll", "explicit"),
        ),
    )
    poll: float = dataclasses.field(
        default=5.0,
        metadata=option(
            "with --model-control poll: how often the repository's folder is looked at", read_period, metavar="SECONDS"
        ),
    )
    load_model: str = dataclasses.field(
        default="",
        metadata=option(
            "with --model-control explicit: models to load at the start, separated by commas; * for all",
            metavar="NAMES",
        ),
    )
    ready: str = dataclasses.field(
        default="any",
        metadata=option(
            "when the server as a whole is ready, once all its models have been tried: any while one of them serves, "
            "all only while every one does",
            choices=("any", "all"),
        ),
    )
    load_timeout: float = dataclasses.field(
        default=60.0,
        metadata=option(
            "how long a version may take to be tried before it serves; one that takes longer stays out",
            read_seconds,
            metavar="SECONDS",
        ),
    )
    max_load_bytes: int = dataclasses.field(
        default=512 << 20,
        metadata=option(
            "most memory that a version may take while it is tried, in bytes, beyond eight times its files", read_count
        ),
    )
    drain: float = dataclasses.field(
        default=0.0,
        metadata=option(
            "how long requests are answered after SIGTERM as before, while health checks are told NOT_SERVING, so that "
            "balancers send no new ones",
            read_seconds,
            metavar="SECONDS",
        ),
    )
    grace: float = dataclasses.field(
        default=5.0,
        metadata=option("how long requests in progress may take to end after SIGTERM", read_seconds, metavar="SECONDS"),
    )
    max_connection_age: float | None = dataclasses.field(
        default=None,
        metadata=option(
            "age at which a connection is renewed, without failing a request, so that clients move to other workers; "
            "0 for never. Where not given: 60 with workers, else never",
            read_seconds,
            metavar="SECONDS",
        ),
    )
    max_connection_age_grace: float = dataclasses.field(
        default=0.0,
        metadata=option(
            "how long calls on a connection that has come of age may take to end; 0 for as long as they take",
            read_seconds,
            metavar="SECONDS",
        ),
    )
    log_requests: str = dataclasses.field(
        default=LOG_REQUESTS[0],
        metadata=option("which requests have a line in the log; of errors some of each reason", choices=LOG_REQUESTS),
    )
    traces: bool = dataclasses.field(
        default=False,
        metadata=option("export traces (OpenTelemetry) as the variables OTEL_… say; needs the extra `otel`"),
    )
    share_port: bool = False
    sharers: int = 1
    http_port: int | None = None
    private_sockets: Path | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            choices = field.metadata["option"].choices if "option" in field.metadata else ()
            if choices and (value := getattr(self, field.name)) not in choices:
                raise StartError(f"--{field.name.replace('_', '-')} {value!r}: choose from {', '.join(choices)}")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise StartError("TLS needs both --tls-certificate and --tls-key")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise StartError("--tls-client-ca needs TLS: --tls-certificate and --tls-key")
        if self.load_model and self.model_control != "explicit":
            raise StartError("--load-model needs --model-control explicit; otherwise all models are loaded")
        self.check_access()
        least = 2 * max(self.max_message_bytes, 2 * self.max_response_bytes + _RESPONSE_HEAD)
        if self.max_held_bytes < least:
            raise StartError(
                f"--max-held-bytes {self.max_held_bytes} is too little for one request of --max-message-bytes "
                f"{self.max_message_bytes} and its response of --max-response-bytes {self.max_response_bytes}: give it "
                f"{least} or more"
            )

    def beside_http(self, port: int, folder: Path) -> Self:
        """The same, of a server with an HTTP front on a port, which reaches it over a socket in a folder."""
        return dataclasses.replace(self, http_port=port, private_sockets=folder)

    @property
    def wanted_models(self) -> list[str] | None:
        """The names of the models to load at the start; None for all."""
        if self.model_control != "explicit" or self.load_model == "*":
            return None
        return [name for name in self.load_model.split(",") if name]

    @property
    def connection_age(self) -> float:
        """Seconds after which a connection is renewed; 0 for never."""
        if self.max_connection_age is None:
            return _SHARED_CONNECTION_AGE if self.share_port else 0.0
        return self.max_connection_age
