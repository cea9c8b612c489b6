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
        tokens: File of the tokens that calls may bring (`access.access_file`); None where none is asked for.
        client_roles: File of the roles of client certificates (`access.credentials`), in the place of tokens.
        closed_health: Ask those for a token, or a certificate that has a role, who ask for the server's health.

    Raises:
        StartError: If tokens and client roles are both given, or health is closed and neither is.
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
    client_roles: Path | None = dataclasses.field(
        default=None,
        metadata=option(
            "with --tls-client-ca: answer only calls of clients whose certificates this file gives a role; it is read "
            "again when it changes",
            Path,
            metavar="FILE",
        ),
    )
    closed_health: bool = dataclasses.field(
        default=False,
        metadata=option(
            "with --tokens or --client-roles: ask those for a token or a role, too, who ask for the server's health"
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokens is not None and self.client_roles is not None:
            raise StartError(
                "--tokens and --client-roles exclude each other: a caller is known by its token, or by its certificate"
            )
        if self.closed_health and self.access_file is None:
            raise StartError("--closed-health needs --tokens or --client-roles: without, nobody is asked for anything")

    @property
    def access_file(self) -> Path | None:
        """The file that says whose calls are answered; None where all are."""
        return self.client_roles if self.tokens is None else self.tokens

    def check_metrics_port(self, port: int | None) -> None:
        """Check that scrapers can show on a port of its own who they are.

        Args:
            port: Number of the port for metrics; None for none.

        Raises:
            StartError: If they cannot.
        """
        if port is not None and self.client_roles is not None:
            raise StartError(
                "--metrics-port is without TLS, so that no scraper can show a certificate there (--client-roles): "
                "scrape /metrics on the port of HTTP, or give --tokens in the place of --client-roles"
            )
