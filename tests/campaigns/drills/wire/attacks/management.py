"""What a client may ask besides inference: shared memory, files, settings, states, health. By any names."""

import tempfile
import time
from pathlib import Path
from typing import Any

from rnnserve.protos import inference_pb2 as pb

from ..attack import Strike, attack
from ..target import encode_varint

__all__ = ["ATTACKS"]

_SHARED = "shared memory"
_PATHS = "paths"
_FILES = "settings that write files"
_STATES = "states without number"

_NAMES = (
    "../../../../etc/passwd", "/etc/passwd", "..", ".", "", "a/../../b", "a\0b", "\0", "\\..\\..\\x", "file:///etc/passwd",
    "%2e%2e%2f", "~root", "x" * 300, "\u202e", "-1", "con", "${HOME}", "$(id)", "{0}", "%s%n",
)  # fmt: skip

_MODEL_METHODS = {
    "ModelInfer": lambda name, version: pb.ModelInferRequest(model_name=name, model_version=version),
    "ModelMetadata": lambda name, version: pb.ModelMetadataRequest(name=name, version=version),
    "ModelReady": lambda name, version: pb.ModelReadyRequest(name=name, version=version),
    "ModelConfig": lambda name, version: pb.ModelConfigRequest(name=name, version=version),
    "ModelStatistics": lambda name, version: pb.ModelStatisticsRequest(name=name, version=version),
}

_BYTES_PARAMETERS = ("shared_memory_offset", "shared_memory_byte_size")


@attack(_SHARED)
def shared_memory_keys(strike: Strike) -> None:
    """Regions whose key leads out of /dev/shm, and whose offset and size overflow."""
    huge = (0, 1, 2**31, 2**63 - 1, 2**64 - 1)
    for key in (*_NAMES, "/../../etc/passwd", "/" + "x" * 300):
        for offset in huge:
            message = pb.SystemSharedMemoryRegisterRequest(
                name="region", key=key, offset=offset, byte_size=2**64 - 1 - offset
            )
            strike.call("SystemSharedMemoryRegister", message.SerializeToString())
    strike.call("SystemSharedMemoryStatus", b"")
    strike.call("SystemSharedMemoryUnregister", b"")


@attack(_SHARED)
def shared_memory_of_devices(strike: Strike) -> None:
    """CUDA handles of any bytes and sizes, for devices that there are not."""
    for handle in (b"", b"\0" * 64, b"\xff" * 64, b"x" * 4096):
        for device in (-1, 0, 1, 2**31, 2**63 - 1):
            message = pb.CudaSharedMemoryRegisterRequest(name="r", raw_handle=handle, device_id=device, byte_size=2**40)
            strike.call("CudaSharedMemoryRegister", message.SerializeToString())
    strike.call("CudaSharedMemoryUnregister", b"")


@attack(_SHARED)
def shared_memory_in_requests(strike: Strike) -> None:
    """Inputs and outputs that lie in regions, with offsets and sizes that overflow."""
    for number in (-1, 0, 2**31, 2**63 - 1):
        for at_output in (False, True):
            message = strike.target.request()
            tensor = message.outputs.add(name=strike.target.largest_output()) if at_output else message.inputs[0]
            tensor.parameters["shared_memory_region"].string_param = "region"
            for name in _BYTES_PARAMETERS:
                tensor.parameters[name].int64_param = number
            strike.call("ModelInfer", message.SerializeToString())


@attack(_PATHS)
def model_names(strike: Strike) -> None:
    """Names and versions of models that lead out of the repository, hold NULs or would be formatted."""
    for method, make in _MODEL_METHODS.items():
        sent = [make(name, "").SerializeToString() for name in _NAMES]
        sent += [make(strike.target.model, name).SerializeToString() for name in _NAMES if name]
        strike.flood(method, sent)


@attack(_PATHS)
def repository_loads(strike: Strike) -> None:
    """Loading and unloading of models by paths, with a config and with files that lie elsewhere."""
    for name in _NAMES:
        message = pb.RepositoryModelLoadRequest(model_name=name)
        message.parameters["config"].string_param = '{"backend": "../../x", "name": "../x"}'
        message.parameters["file:../../../../tmp/escaped"].bytes_param = b"x"
        strike.call("RepositoryModelLoad", message.SerializeToString())
        strike.call("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name=name).SerializeToString())
        strike.call("RepositoryIndex", pb.RepositoryIndexRequest(repository_name=name).SerializeToString())


@attack(_FILES)
def log_and_trace_files(strike: Strike) -> None:
    """A log file and a trace file of the client's choice; says so where one was written."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder) / "chosen-by-the-client"
        log = pb.LogSettingsRequest()
        log.settings["log_file"].string_param = str(chosen)
        log.settings["log_verbose_level"].uint32_param = 9
        trace = pb.TraceSettingRequest()
        trace.settings["trace_file"].value.append(str(chosen))
        trace.settings["trace_level"].value.append("TIMESTAMPS")
        trace.settings["trace_rate"].value.append("1")
        for method, message in (("LogSettings", log), ("TraceSetting", trace)):
            strike.call(method, message.SerializeToString())
        strike.flood("ModelInfer", [strike.target.valid] * 5)
        if any(Path(folder).iterdir()):
            strike.answers.note("FILE WRITTEN")
        back = pb.LogSettingsRequest()
        back.settings["log_file"].string_param = ""
        back.settings["log_verbose_level"].uint32_param = 0
        strike.call("LogSettings", back.SerializeToString())


@attack(_STATES)
def sequence_ids(strike: Strike) -> None:
    """Sequences that begin and never end, each with another id."""

    def sent(number: int) -> bytes:
        message = pb.ModelInferRequest.FromString(strike.target.valid)
        message.parameters["sequence_start"].bool_param = True
        if number % 2:
            message.parameters["sequence_id"].int64_param = number
        else:
            message.parameters["sequence_id"].string_param = f"{number}" + "x" * 1000
        return message.SerializeToString()

    strike.flood("ModelInfer", map(sent, range(1, 20_000)))


@attack(_STATES)
def request_ids(strike: Strike) -> None:
    """Requests with an id, a parameter and a name of an output of their own: nothing of one is good for the next."""

    def sent(number: int) -> bytes:
        message = pb.ModelInferRequest.FromString(strike.target.valid)
        message.id = f"{number}" + "x" * 4000
        message.parameters[f"key{number}"].string_param = "y" * 1000
        return message.SerializeToString()

    strike.flood("ModelInfer", map(sent, range(20_000)))


@attack(_STATES)
def cancelled_watches(strike: Strike) -> None:
    """Watches of the server's health that are cancelled as soon as they are made, without end."""
    watch = strike.target.channel.unary_stream("/grpc.health.v1.Health/Watch")
    while strike.left():
        calls = [watch(b"") for _ in range(8)]
        time.sleep(0.002)
        for call in calls:
            call.cancel()
        strike.answers.note("CANCELLED", "by the client")


@attack(_STATES)
def health_names(strike: Strike) -> None:
    """400 watches of services that there are not, each with a name of 1 MB; then 2,000 checks."""
    watch = strike.target.channel.unary_stream("/grpc.health.v1.Health/Watch")
    calls: list[Any] = []
    for number in range(400):
        if not strike.left():
            break
        name = b"%06d" % number + b"x" * 1_000_000
        calls.append(watch(b"\x0a" + encode_varint(len(name)) + name, timeout=strike.left() + 10))
    time.sleep(strike.left())
    for call in calls:
        strike.answers.note(call.code().name if call.done() else "OPEN")
        call.cancel()
    checks = (b"\x0a\x64" + b"%06d" % number + b"y" * 94 for number in range(2000))
    strike.flood("/grpc.health.v1.Health/Check", checks)


ATTACKS = (
    shared_memory_keys, shared_memory_of_devices, shared_memory_in_requests, model_names, repository_loads,
    log_and_trace_files, sequence_ids, request_ids, cancelled_watches, health_names,
)  # fmt: skip
