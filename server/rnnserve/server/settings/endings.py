"""The options of how a server stops, and of how long a connection lasts."""

import dataclasses

from rnnserve.server.settings.option import option, read_seconds
from rnnserve.server.settings.part import SettingsPart

__all__ = ["EndingSettings"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndingSettings(SettingsPart):
    """How a server and its connections end.

    Attributes:
        drain: Seconds for which everything is answered after the server was told to stop, while health checks are told
            that it does not serve. Of the command only.
        grace: Seconds that requests in progress may take to end when the server stops.
        max_connection_age: Seconds, give or take a tenth, after which a client is asked to connect anew. None is a
            minute where workers share the port, and no limit elsewhere; 0 is no limit.
        max_connection_age_grace: Seconds that calls in progress on such a connection may take to end; 0 for no limit.
    """

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
