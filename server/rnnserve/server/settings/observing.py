"""The options of what is told of single requests."""

import dataclasses

from rnnserve.common.request_lines import LOG_REQUESTS
from rnnserve.server.settings.option import option
from rnnserve.server.settings.part import SettingsPart

__all__ = ["ObservingSettings"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObservingSettings(SettingsPart):
    """What is told of single requests.

    Attributes:
        log_requests: Which requests have a line in the log: "errors", "none" or "all". Of the command only.
        traces: Export traces of requests. Of the command only.
    """

    log_requests: str = dataclasses.field(
        default=LOG_REQUESTS[0],
        metadata=option("which requests have a line in the log; of errors some of each reason", choices=LOG_REQUESTS),
    )
    traces: bool = dataclasses.field(
        default=False,
        metadata=option("export traces (OpenTelemetry) as the variables OTEL_… say; needs the extra `otel`"),
    )
