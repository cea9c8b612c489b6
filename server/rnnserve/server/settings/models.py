"""The options of models: which of them serve, when, and how they run."""

import dataclasses

from rnnserve.server.errors import StartError
from rnnserve.server.settings.option import option, read_count, read_model_name, read_period, read_seconds
from rnnserve.server.settings.part import SettingsPart

__all__ = ["ModelSettings"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings(SettingsPart):
    """Which models and versions serve, and how.

    Attributes:
        model_name: The name of the one model whose folder `repository` is; None where it holds a folder for each.
        graph: Which graph of a version serves: "native" is model.onnx; "scan" is model.scan.onnx, on the CPU and where
            there is one; "auto" is the one that the manifest says.
        threads: Threads of a run of each model, onnxruntime's intra-op threads. With more than one, a kernel may divide
            its rows by their number, and an answer's bits may depend on the others in its batch: each version is tried
            with as many.
        allow_unproven: Serve versions, too, that were adopted from an ONNX file and not compared with its framework.
        model_control: What changes the models that serve: "none", "poll" for the repository's folder, or "explicit" for
            RepositoryModelLoad and RepositoryModelUnload.
        poll: Seconds between two looks at the folder, with `model_control` "poll".
        load_model: With `model_control` "explicit", the names of the models to load at the start, separated by commas;
            "*" for all.
        ready: When the server as a whole is ready: "any" while one of its models serves, "all" only while all do.
        load_timeout: Seconds that a version may take to be tried, in a process of its own, before it serves. Beyond it:
            UNAVAILABLE with one line; all others serve.
        max_run: Seconds that a run may take beside ten times its measured cost. Beyond it: the server is neither ready
            nor live while the run goes on; a worker is replaced.
        max_load_bytes: Bytes of memory that a version may take in that process, beyond eight times its files and 16 MiB
            for each thread of `threads` after the first. Beyond it: UNAVAILABLE with one line.

    Raises:
        StartError: If models to load are named, and none are loaded by name.
    """

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
    max_run: float = dataclasses.field(
        default=8.0,
        metadata=option(
            "how long a run may take beside ten times its measured cost. While one takes longer, the server is neither "
            "ready nor live; a worker is replaced",
            read_period,
            metavar="SECONDS",
        ),
    )
    max_load_bytes: int = dataclasses.field(
        default=512 << 20,
        metadata=option(
            "most memory that a version may take while it is tried, in bytes, beyond eight times its files", read_count
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.load_model and self.model_control != "explicit":
            raise StartError("--load-model needs --model-control explicit; otherwise all models are loaded")

    @property
    def wanted_models(self) -> list[str] | None:
        """The names of the models to load at the start; None for all."""
        if self.model_control != "explicit" or self.load_model == "*":
            return None
        return [name for name in self.load_model.split(",") if name]
