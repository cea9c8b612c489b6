"""Every route of the front: the protocol's, those that describe it, and those of the page."""

import functools
from pathlib import Path

from rnnserve.web.app.live_numbers import LiveNumbers
from rnnserve.web.app.metrics import metrics_of
from rnnserve.web.app.overview import overview
from rnnserve.web.app.reference import Reference
from rnnserve.web.app.routes import RouteEntry, protocol_routes
from rnnserve.web.app.static_files import front_page, static_file

__all__ = ["site_routes"]


def site_routes(metrics_socket: Path | None = None) -> list[RouteEntry]:
    """Make the table: the first that fits answers.

    Args:
        metrics_socket: The server's socket for scrapes; None where the server is elsewhere.
    """
    routes = protocol_routes()
    reference, live = Reference(routes), LiveNumbers()
    whole = functools.partial(RouteEntry, is_compressed=True)
    routes += [
        whole("/openapi.json", "document", {"GET": reference.document}, "Every route, for programs (OpenAPI 3.1)"),
        whole("/metrics", "metrics", {"GET": metrics_of(metrics_socket)}, "What the server has counted"),
        whole("/docs", "reference", {"GET": reference.page}, "Every route, for people, with requests to try"),
        whole("/", "page", {"GET": front_page}, "A page of what serves, to look at and to try"),
        whole("/page/models", "page_models", {"GET": overview}, "What the page shows of each model"),
        RouteEntry("/page/live", "page_live", {"GET": live.stream}, "What models do now, as server-sent events"),
        whole("/static/{file}", "static", {"GET": static_file}, "What pages need"),
    ]
    return routes
