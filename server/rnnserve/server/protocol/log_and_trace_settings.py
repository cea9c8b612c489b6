"""LogSettings and TraceSetting: what the settings are. Clients can read them, and change none.

This server has no authentication: what a client could set would hold for all others, and a log that it turns off, or
writes to a file of its choice, would serve an attacker alone. To set what is set already is no change, and is
answered: clients do so to read all settings.
"""

import logging
from collections.abc import Mapping

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.error_texts import quoted
from rnnserve.server.errors import InvalidRequest, Unsupported

__all__ = ["log_settings", "trace_settings"]

_LOG = logging.getLogger("rnnserve")

_TRACING = {
    "trace_level": ["OFF"],
    "trace_rate": ["1000"],
    "trace_count": ["-1"],
    "log_frequency": ["0"],
    "trace_file": [""],
}
"""Triton's settings, with the values that it has where no tracing was asked for."""


def log_settings(request: pb.LogSettingsRequest) -> pb.LogSettingsResponse:
    """Say what is logged, in Triton's words.

    Raises:
        InvalidRequest: If a setting is not known.
        Unsupported: If one is to be changed.
    """
    response = pb.LogSettingsResponse()
    settings = response.settings
    settings["log_file"].string_param = ""
    for name, level in (("log_info", logging.INFO), ("log_warning", logging.WARNING), ("log_error", logging.ERROR)):
        settings[name].bool_param = _LOG.isEnabledFor(level)
    settings["log_verbose_level"].uint32_param = int(_LOG.isEnabledFor(logging.DEBUG))
    settings["log_format"].string_param = "default"
    _refuse_unknown(request.settings, settings)
    for name, value in request.settings.items():
        if value.SerializeToString() != settings[name].SerializeToString():
            what = (
                "the log is written to standard error, and to no file that a client names: redirect it"
                if name == "log_file"
                else "no client can change it: choose with --log-level"
            )
            raise Unsupported(f"{name}: {what} where the server is started", field=_field(name))
    return response


def trace_settings(request: pb.TraceSettingRequest) -> pb.TraceSettingResponse:
    """Say that no requests are traced, in Triton's words.

    Raises:
        InvalidRequest: If a setting is not known.
        Unsupported: If one is to be changed.
    """
    response = pb.TraceSettingResponse()
    for name, values in _TRACING.items():
        response.settings[name].value.extend(values)
    _refuse_unknown(request.settings, response.settings)
    for name, setting in request.settings.items():
        if setting.value and list(setting.value) != _TRACING[name]:  # no value asks for the server's own
            raise Unsupported(
                f"{name}: this server traces no requests, and writes no files; ModelStatistics says how long requests "
                "wait and run",
                field=_field(name),
            )
    return response


def _refuse_unknown(asked: Mapping[str, object], known: Mapping[str, object]) -> None:
    for name in asked:
        if name not in known:
            raise InvalidRequest(f"no setting is named {quoted(name)}; there are {', '.join(known)}", field="settings")


def _field(name: str) -> str:
    return f'settings["{name}"]'
