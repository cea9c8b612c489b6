"""The options of what is served and where: those that may be given by their place, too."""

import dataclasses
from pathlib import Path

from rnnserve.server.settings.option import option, read_port
from rnnserve.server.settings.part import SettingsPart

__all__ = ["PlaceSettings"]


@dataclasses.dataclass(frozen=True)
class PlaceSettings(SettingsPart):
    """What is served, and where.

    Attributes:
        repository: The folder with the models.
        host: Name or address to listen on.
        grpc_port: 0 for any that is free.
        provider: "cpu", "cuda", or "auto" for CUDA where a trial of it succeeds.
        plain: Serve without the fast path, through grpcio's public API alone, which is slower.
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
    plain: bool = dataclasses.field(
        default=False,
        metadata=option(
            "serve without the fast path, through grpcio's public API alone: slower, for versions of grpcio with which "
            "the fast path does not work"
        ),
    )
