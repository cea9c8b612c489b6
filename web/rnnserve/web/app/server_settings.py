"""`/v2/logging` and `/v2/trace/setting`: what the server logs and traces. What is set there, the server refuses."""

from typing import Any

from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app.exchange import Answer, Exchange, json_answer
from rnnserve.web.errors import bad_request, quoted
from rnnserve.web.rest.parameters import whole

__all__ = ["logging_settings", "trace_settings"]

_LISTS = frozenset(("trace_level",))
"""Settings that Triton writes as lists; the others are texts."""


async def logging_settings(exchange: Exchange) -> Answer:
    """Say what is logged; a POST names settings, with values."""
    request = pb.LogSettingsRequest()
    for name, given in (await _asked(exchange)).items():
        value = whole(given)
        if isinstance(value, bool):
            request.settings[name].bool_param = value
        elif isinstance(value, int) and 0 <= value < 1 << 32:
            request.settings[name].uint32_param = value
        elif isinstance(value, str):
            request.settings[name].string_param = value
        else:
            raise bad_request(f"the value of {quoted(name)} is to be true, false, text or a number")
    said = await exchange.upstream.call("LogSettings", request, pb.LogSettingsResponse, exchange.context())
    return json_answer(
        {name: getattr(value, value.WhichOneof("parameter_choice") or "") for name, value in said.settings.items()}
    )


async def trace_settings(exchange: Exchange) -> Answer:
    """Say what is traced, of the server or of a model; a POST names settings, with values."""
    request = pb.TraceSettingRequest(model_name=exchange.parameter("model"))
    for name, value in (await _asked(exchange)).items():
        values = [] if value is None else [whole(each) for each in (value if isinstance(value, list) else [value])]
        if not all(isinstance(each, str | int) and not isinstance(each, bool) for each in values):
            raise bad_request(f"the value of {quoted(name)} is to be text, a list of texts, or null")
        request.settings[name].value.extend(map(str, values))
    said = await exchange.upstream.call("TraceSetting", request, pb.TraceSettingResponse, exchange.context())
    return json_answer(
        {
            name: list(setting.value) if name in _LISTS else ",".join(setting.value)
            for name, setting in said.settings.items()
        }
    )


async def _asked(exchange: Exchange) -> dict[str, Any]:
    return await exchange.json() if exchange.scope["method"] == "POST" else {}
