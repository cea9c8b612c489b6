"""Every option of the server, put together of those of each subject."""

import dataclasses
from pathlib import Path
from typing import Self

from rnnserve.server.errors import StartError
from rnnserve.server.settings.access import AccessSettings
from rnnserve.server.settings.endings import EndingSettings
from rnnserve.server.settings.limits import LimitSettings
from rnnserve.server.settings.models import ModelSettings
from rnnserve.server.settings.observing import ObservingSettings
from rnnserve.server.settings.place import PlaceSettings
from rnnserve.server.settings.sequences import SequenceSettings
from rnnserve.server.settings.signatures import SignatureSettings
from rnnserve.server.settings.tls import TlsSettings

__all__ = ["Settings"]

_SHARED_CONNECTION_AGE = 60.0
"""Seconds that a connection to one of several workers lasts: after so long at most, the clients of a worker that leaves
are with others. A new connection costs its first request about 1 ms."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(
    # A dataclass has the fields of its last base first: in --help, options come in the order of these lines from below.
    ObservingSettings,
    EndingSettings,
    SequenceSettings,
    LimitSettings,
    SignatureSettings,
    AccessSettings,
    TlsSettings,
    ModelSettings,
    PlaceSettings,
):
    """How to serve.

    The options are attributes of the bases, a subject each. Those of this class are no options: `rnnserve serve` says
    by them what its processes are to one another.

    Attributes:
        share_port: Let other processes listen on the port too, as workers do. Not an option of the command.
        sharers: Number of processes, this one included, that share what a limit on memory leaves. Not one, either.
        http_port: Where HTTP is served beside this server; None for nowhere. Nor this: the command's own is.
        private_sockets: Folder for a socket of this server, which no other user can open: calls on it are those of the
            HTTP front, and say whose they are. None for no such socket.

    Raises:
        StartError: If options do not fit together, or an option lacks the one that it is for.
    """

    share_port: bool = False
    sharers: int = 1
    http_port: int | None = None
    private_sockets: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.client_roles is not None and self.tls_client_ca is None:
            raise StartError(
                "--client-roles needs --tls-client-ca: without, clients show no certificate, or one that anybody signed"
            )

    def beside_http(self, port: int, folder: Path) -> Self:
        """The same, of a server with an HTTP front on a port, which reaches it over a socket in a folder."""
        return dataclasses.replace(self, http_port=port, private_sockets=folder)

    @property
    def connection_age(self) -> float:
        """Seconds after which a connection is renewed; 0 for never."""
        if self.max_connection_age is None:
            return _SHARED_CONNECTION_AGE if self.share_port else 0.0
        return self.max_connection_age
