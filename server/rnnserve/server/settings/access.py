"""The options of whose calls are answered."""

import dataclasses
from pathlib import Path

from rnnserve.server.errors import StartError
from rnnserve.server.settings.option import option
from rnnserve.server.settings.part import SettingsPart

__all__ = ["AccessSettings"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AccessSettings(SettingsPart):
    """Whose calls are answered.

    Attributes:
        tokens: File of the tokens that calls may bring (`access.tokens_file`); None where none is asked for.
        closed_health: Ask for a token of those, too, who ask for the server's health.

    Raises:
        StartError: If health is closed, and no token is asked for.
    """

    tokens: Path | None = dataclasses.field(
        default=None,
        metadata=option(
            "answer only calls that bring a token of this file, which `rnnserve token new` writes; it is read again "
            "when it changes",
            Path,
            metavar="FILE",
        ),
    )
    closed_health: bool = dataclasses.field(
        default=False, metadata=option("with --tokens: ask those for a token, too, who ask for the server's health")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.closed_health and self.tokens is None:
            raise StartError("--closed-health needs --tokens: without, nobody is asked for one")
