"""Triton's extensions that this server doesn't have: shared memory, trace settings and log settings.

Clients ask for these settings and regions before they begin, so reading them is answered, and unregistering regions
succeeds. Registering a region or changing a setting is UNIMPLEMENTED: it would hold for all other clients, and a region
that a client names may belong to others or change while a request is checked.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import Message

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.errors import Unsupported, quoted

__all__ = ["UNSUPPORTED_METHODS"]

_LOG = logging.getLogger("rnnserve")

_NO_SHARED_MEMORY = "shared memory is not supported: send tensors in raw_input_contents, and read raw_output_contents"

_TRACING_OFF = (
    ("trace_level", "OFF"),
    ("trace_rate", "1000"),
    ("trace_count", "-1"),
    ("log_frequency", "0"),
    ("trace_file", ""),
)


def _read_trace_settings(request: pb.TraceSettingRequest) -> pb.TraceSettingResponse:
    _refuse_changes(
        [name for name, setting in request.settings.items() if setting.value],
        "this server writes no trace files; use --traces where the server is started, or ModelStatistics",
    )
    settings = {name: pb.TraceSettingResponse.SettingValue(value=[value]) for name, value in _TRACING_OFF}
    return pb.TraceSettingResponse(settings=settings)


def _read_log_settings(request: pb.LogSettingsRequest) -> pb.LogSettingsResponse:
    _refuse_changes(list(request.settings), "no client can change it; use --log-level where the server is started")
    value = pb.LogSettingsResponse.SettingValue
    levels = {"log_info": logging.INFO, "log_warning": logging.WARNING, "log_error": logging.ERROR}
    settings = {name: value(bool_param=_LOG.isEnabledFor(level)) for name, level in levels.items()}
    settings["log_verbose_level"] = value(uint32_param=int(_LOG.isEnabledFor(logging.DEBUG)))
    settings |= {"log_file": value(string_param=""), "log_format": value(string_param="default")}
    return pb.LogSettingsResponse(settings=settings)


def _refuse_changes(names: list[str], reason: str) -> None:
    for name in names:
        raise Unsupported(f"{quoted(name)}: {reason}", field=f"settings[{quoted(name)}]")


def _refuse_region(_: Message) -> Message:
    raise Unsupported(_NO_SHARED_MEMORY)


UNSUPPORTED_METHODS: Mapping[str, tuple[type[Any], Callable[..., Message]]] = {
    "SystemSharedMemoryStatus": (pb.SystemSharedMemoryStatusRequest, lambda _: pb.SystemSharedMemoryStatusResponse()),
    "SystemSharedMemoryRegister": (pb.SystemSharedMemoryRegisterRequest, _refuse_region),
    "SystemSharedMemoryUnregister": (
        pb.SystemSharedMemoryUnregisterRequest,
        lambda _: pb.SystemSharedMemoryUnregisterResponse(),
    ),
    "CudaSharedMemoryStatus": (pb.CudaSharedMemoryStatusRequest, lambda _: pb.CudaSharedMemoryStatusResponse()),
    "CudaSharedMemoryRegister": (pb.CudaSharedMemoryRegisterRequest, _refuse_region),
    "CudaSharedMemoryUnregister": (
        pb.CudaSharedMemoryUnregisterRequest,
        lambda _: pb.CudaSharedMemoryUnregisterResponse(),
    ),
    "TraceSetting": (pb.TraceSettingRequest, _read_trace_settings),
    "LogSettings": (pb.LogSettingsRequest, _read_log_settings),
}
"""By method: the class of its request, and the function that answers it."""
