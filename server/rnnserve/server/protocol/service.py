"""The methods of the protocol, from request message to response message, for every transport.

RepositoryModelLoad and RepositoryModelUnload load and unload models, as in Triton's explicit mode. In KServe's proto
(kserve/protocol/grpc/grpc_predict_v2.proto) field 1 is the model's name, but in Triton's it is the repository's name.
KServe's response has the model's name and the outcome. So a request in which only field 1 is set is KServe's.

For Triton's shared memory, trace settings and log settings, this server supports only the calls that clients make
before they begin: reading the settings, and unregistering regions, which always succeeds. Registering a region or
changing a setting is UNIMPLEMENTED. It would affect all other clients, and a region could belong to others or change
while a request is checked.
"""

import dataclasses
import importlib.metadata
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import model_config_pb2
from rnnserve.protos.protocol_words import SEALED_SESSIONS, SESSION, TOKENS
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.counting import places
from rnnserve.server.errors import InvalidRequest, NotReady, ServeError, Unsupported, quoted
from rnnserve.server.protocol.sealed_states import SealedStates
from rnnserve.server.protocol.sequences import Caller, Sequences
from rnnserve.server.repository.live import LiveRepository
from rnnserve.server.repository.repository import READY, Repository, ServedVersion
from rnnserve.server.settings import Settings
from rnnserve.server.validation.checking import check_request
from rnnserve.server.validation.parsing import parse_request, read_sequence_control
from rnnserve.server.validation.signature import CheckedRequest, TensorSpec

__all__ = ["Method", "Service"]

_LOG = logging.getLogger("rnnserve")

_EXTENSIONS = (
    "binary_tensor_data", "classification", "logging", "model_configuration", "model_repository", "parameters",
    "schedule_policy", "sequence", "statistics", "trace",
)  # fmt: skip
"""The extensions that this server supports, by Triton's names."""

_TRACING_OFF = {"trace_level": "OFF", "trace_rate": "1000", "trace_count": "-1", "log_frequency": "0", "trace_file": ""}

_Control = pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest


@dataclasses.dataclass(frozen=True)
class Method:
    """A unary method. `takes_long` if it may take seconds and must run on another thread."""

    request: type[Message]
    answer: Callable[..., Message]
    takes_long: bool = False


class Service:
    """The Open Inference Protocol over a repository.

    While it `is_draining` (about to stop), it isn't ready. While it `is_stuck` (a model's run doesn't end), it is
    neither ready nor live.
    """

    def __init__(
        self,
        repository: Repository,
        settings: Settings,
        live: LiveRepository | None = None,
        note_change: Callable[[str, bool], None] = lambda *_: None,
    ) -> None:
        """Serve a repository. Raises StartError if the key for sealed sessions is invalid.

        `note_change` is called with a model's name, and whether a request has loaded it (True) or unloaded it.
        """
        self.repository = repository
        self.settings = settings
        self.sequences = Sequences(settings)
        self.is_draining = self.is_stuck = False
        self._live = live
        self._note_change = note_change
        key = settings.session_key
        self._sealed_states = None if key is None else SealedStates(settings, key)
        of_settings = {SEALED_SESSIONS: self._sealed_states is not None, TOKENS: settings.access_file is not None}
        self._extensions = [*_EXTENSIONS, *[name for name, is_spoken in of_settings.items() if is_spoken]]

    @property
    def methods(self) -> Mapping[str, Method]:
        """The unary methods of GRPCInferenceService by name, except ModelInfer, which goes through `accept`."""
        return {
            "ServerLive": Method(pb.ServerLiveRequest, self._server_live),
            "ServerReady": Method(pb.ServerReadyRequest, self._server_ready),
            "ServerMetadata": Method(pb.ServerMetadataRequest, self.server_metadata),
            "ModelReady": Method(pb.ModelReadyRequest, self._model_ready),
            "ModelMetadata": Method(pb.ModelMetadataRequest, self.model_metadata),
            "ModelConfig": Method(pb.ModelConfigRequest, self._model_config),
            "ModelStatistics": Method(pb.ModelStatisticsRequest, self._model_statistics),
            "RepositoryIndex": Method(pb.RepositoryIndexRequest, self._repository_index),
            "RepositoryModelLoad": Method(pb.RepositoryModelLoadRequest, self._load, takes_long=True),
            "RepositoryModelUnload": Method(pb.RepositoryModelUnloadRequest, self._unload, takes_long=True),
            "SystemSharedMemoryStatus": Method(pb.SystemSharedMemoryStatusRequest, _empty),
            "SystemSharedMemoryRegister": Method(pb.SystemSharedMemoryRegisterRequest, _refuse_region),
            "SystemSharedMemoryUnregister": Method(pb.SystemSharedMemoryUnregisterRequest, _empty),
            "CudaSharedMemoryStatus": Method(pb.CudaSharedMemoryStatusRequest, _empty),
            "CudaSharedMemoryRegister": Method(pb.CudaSharedMemoryRegisterRequest, _refuse_region),
            "CudaSharedMemoryUnregister": Method(pb.CudaSharedMemoryUnregisterRequest, _empty),
            "TraceSetting": Method(pb.TraceSettingRequest, _read_trace_settings),
            "LogSettings": Method(pb.LogSettingsRequest, _read_log_settings),
        }

    def accept(self, payload: bytes, caller: Caller | None = None) -> tuple[ServedVersion, CheckedRequest]:
        """Validate a ModelInfer request's bytes for the requested version. Sequences need a `caller`."""
        request = parse_request(payload, self.settings)
        if caller is not None and caller.grant is not None:
            caller.grant.check_model(request.model_name)
        if SESSION in request.parameters:
            return self._accept_session(request)
        served = self._version_asked(request, caller)
        return served, self._checked(request, served)

    def check(self, payload: bytes, served: ServedVersion) -> CheckedRequest:
        """Check a request for a version that may have been unloaded since. Raises the errors of `accept`."""
        try:
            request = parse_request(payload, self.settings)
        except ServeError as error:
            raise error.of(served.model.statistics.counts)  # noqa: B904 - the same error
        return self._checked(request, served)

    def _checked(self, request: pb.ModelInferRequest, served: ServedVersion) -> CheckedRequest:
        try:
            return check_request(request, served.model.signature, self.settings)
        except ServeError as error:
            raise error.of(served.model.statistics.counts)  # noqa: B904 - the same error

    def _version_asked(self, request: pb.ModelInferRequest, caller: Caller | None) -> ServedVersion:
        """Return the version a request names, or else the version its sequence began on, or the newest."""
        control = read_sequence_control(request.parameters)
        began_on = self.sequences.find(request.model_name, control, caller) if control and caller else None
        if began_on is not None and request.model_version in ("", began_on.model.version):
            return began_on
        return self.repository.find(request.model_name, request.model_version)

    def _accept_session(self, request: pb.ModelInferRequest) -> tuple[ServedVersion, CheckedRequest]:
        """Validate a request of a session whose states the client keeps."""
        if self._sealed_states is None:
            raise Unsupported(
                f"parameter {SESSION}: this server has no key for sealed sessions (--session-key); request the final "
                "states, such as h_n, and send them as initial states, such as h_0, in the next request"
            )
        if read_sequence_control(request.parameters) is not None:
            raise InvalidRequest(
                f"the parameters {SESSION} and sequence_id exclude each other, because either the client or the "
                "server keeps the states"
            )
        served, sealed = self._sealed_states.find(request, self.repository)
        checked = check_request(request, served.model.signature, self.settings)
        served = served.of_sequences
        return served, self._sealed_states.continue_from(sealed, checked, served.model)

    def _server_live(self, _: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=not self.is_stuck)

    def _server_ready(self, _: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self.repository.is_ready() and not (self.is_draining or self.is_stuck))

    def server_metadata(self, _: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        """Return the server's name, version and extensions."""
        return pb.ServerMetadataResponse(
            name="rnnserve", version=importlib.metadata.version("rnnserve"), extensions=self._extensions
        )

    def _model_ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        return pb.ModelReadyResponse(ready=self.repository.is_served(request.name, request.version))

    def model_metadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        """Describe a model."""
        served = self.repository.find(request.name, request.version)
        return metadata_message(served, self.repository.versions(request.name), self.settings)

    def _model_config(self, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
        """Return the model's config.pbtxt. States that Triton would keep are added as optional inputs."""
        served = self.repository.find(request.name, request.version)
        config = model_config_pb2.ModelConfig()
        config.CopyFrom(served.config)
        declared = {tensor.name for tensor in config.input}
        for spec in served.model.signature.inputs.values():
            if spec.name not in declared:
                data_type = model_config_pb2.DataType.Value(f"TYPE_{spec.datatype}")
                config.input.add(name=spec.name, data_type=data_type, dims=spec.sizes, optional=True)
        return pb.ModelConfigResponse(config=config)

    def _model_statistics(self, request: pb.ModelStatisticsRequest) -> pb.ModelStatisticsResponse:
        """Return statistics of this process for one version, all versions of a model, or all served versions."""
        if request.name:
            found = self.repository.find(request.name, request.version)
            names = [found.model.version] if request.version else self.repository.versions(request.name)
            chosen = [self.repository.find(request.name, version) for version in names]
        else:
            chosen = self.repository.served()
        models = [served.model for served in chosen]
        return pb.ModelStatisticsResponse(
            model_stats=[statistics_message(model.name, model.version, model.statistics) for model in models]
        )

    def _repository_index(self, request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        """List every version of every model with its state, and the reason if it doesn't serve."""
        response = pb.RepositoryIndexResponse()
        for name, versions in self.repository.statuses():
            for version, status in versions.items():
                if status.state == READY or not request.ready:
                    response.models.add(name=name, version=str(version), state=status.state, reason=status.reason)
        return response

    def _load(self, request: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        """Load a model's changed versions, and respond when they serve. After an error, the old versions serve on."""
        live = self._explicit()
        model, is_kserves = _model_asked(request)
        for name in request.parameters:
            if name == "config" or name.startswith("file:"):
                raise Unsupported(
                    f"load parameter {quoted(name)}: this server loads only published versions of its "
                    "repository; publish the files there"
                )
            raise InvalidRequest(f"unrecognized load parameter {quoted(name)}")
        live.load(model)
        self._note_change(model, True)
        if is_kserves:
            return pb.RepositoryModelLoadResponse(model_name=model, is_loaded=True)
        return pb.RepositoryModelLoadResponse()

    def _unload(self, request: pb.RepositoryModelUnloadRequest) -> pb.RepositoryModelUnloadResponse:
        """Unload a model. Pending requests still get responses. Unloading a model that doesn't serve succeeds."""
        live = self._explicit()
        model, is_kserves = _model_asked(request)
        for name, parameter in request.parameters.items():
            if name != "unload_dependents":
                raise InvalidRequest(f"unrecognized unload parameter {quoted(name)}")
            if parameter.WhichOneof("parameter_choice") != "bool_param":
                raise InvalidRequest("invalid value type for 'unload_dependents' parameter, expected bool_param")
        live.unload(model)
        self._note_change(model, False)
        if is_kserves:
            return pb.RepositoryModelUnloadResponse(model_name=model, is_unloaded=True)
        return pb.RepositoryModelUnloadResponse()

    def _explicit(self) -> LiveRepository:
        mode = self.settings.model_control
        if self._live is None or mode != "explicit":
            raise NotReady(
                f"explicit model load / unload is not allowed with --model-control {mode}; start the server with "
                "--model-control explicit"
            )
        return self._live


def _model_asked(request: _Control) -> tuple[str, bool]:
    """Return the model's name, and whether the request uses KServe's proto."""
    if request.model_name and request.repository_name:
        raise Unsupported("'repository_name' specification is not supported: this server has one repository")
    if not request.model_name and not request.repository_name:
        raise InvalidRequest("model_name is empty")
    return request.model_name or request.repository_name, not request.model_name


def _read_trace_settings(request: pb.TraceSettingRequest) -> pb.TraceSettingResponse:
    _refuse_changes(
        [name for name, setting in request.settings.items() if setting.value],
        "this server writes no trace files; start the server with OTEL_TRACES_EXPORTER=otlp, or use ModelStatistics",
    )
    value = pb.TraceSettingResponse.SettingValue
    return pb.TraceSettingResponse(settings={name: value(value=[each]) for name, each in _TRACING_OFF.items()})


def _read_log_settings(request: pb.LogSettingsRequest) -> pb.LogSettingsResponse:
    _refuse_changes(request.settings, "clients cannot change it; start the server with --log-level")
    value = pb.LogSettingsResponse.SettingValue
    levels = {"log_info": logging.INFO, "log_warning": logging.WARNING, "log_error": logging.ERROR}
    settings = {name: value(bool_param=_LOG.isEnabledFor(level)) for name, level in levels.items()}
    settings["log_verbose_level"] = value(uint32_param=int(_LOG.isEnabledFor(logging.DEBUG)))
    settings |= {"log_file": value(string_param=""), "log_format": value(string_param="default")}
    return pb.LogSettingsResponse(settings=settings)


def _refuse_changes(names: Iterable[str], reason: str) -> None:
    for name in names:
        raise Unsupported(f"{quoted(name)}: {reason}", field=f"settings[{quoted(name)}]")


def _empty(_: Message) -> Message:
    """Respond with an empty message, because this server never has regions."""
    return Empty()


def _refuse_region(_: Message) -> Message:
    raise Unsupported(
        "shared memory is not supported: send tensors in raw_input_contents, and read raw_output_contents"
    )


_BOUNDS = tuple(zip((0.0, *places.SECONDS_BOUNDS), (*places.SECONDS_BOUNDS, 0.0), strict=True))


def metadata_message(served: ServedVersion, versions: Sequence[str], settings: Settings) -> pb.ModelMetadataResponse:
    """Describe a version: tensors with named axes, labels, batching, origin and device."""
    model, in_parts = served.model, served.of_sequences.model
    properties = {
        "batching": model.signature.batching.value,
        "batch_invariant": json.dumps(model.batch_invariant),
        "continuable": json.dumps(model.continues),
        "sequences": in_parts.why_not_in_parts or "kept",
        "found_states": json.dumps([name for name in in_parts.signature.states if name not in model.signature.inputs]),
        "labels": json.dumps(list(model.manifest.labels)),
        "origin": model.origin,
        "provider_requested": settings.provider,
        "provider": model.device,
        "threads": json.dumps(settings.threads),
        "nodes": json.dumps(model.nodes),
        "graph": model.graph.name,
        "graph_reason": model.graph.reason,
        "parity": model.parity,
        "signed": "" if served.signed is None else json.dumps(served.signed.as_fields()),
    }
    return pb.ModelMetadataResponse(
        name=model.name,
        versions=versions,
        platform="onnxruntime_onnx",
        inputs=[_tensor(spec) for spec in model.signature.inputs.values()],
        outputs=[_tensor(spec) for spec in model.signature.outputs.values()],
        properties=properties,
    )


def _tensor(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    """Describe a tensor, with the parameters a client needs to fill it (docs/reference/protocols.md)."""
    parameters = {"axes": pb.InferParameter(string_param=", ".join(spec.axes))}
    if spec.optional:
        parameters["optional"] = pb.InferParameter(bool_param=True)
    if spec.default is not None:
        parameters["default"] = pb.InferParameter(string_param="recorded")
    if spec.required_because:
        parameters["required"] = pb.InferParameter(bool_param=True)
    for name, said in (("lengths_of", spec.lengths_of), ("continues_as", spec.continues_as)):
        if said:
            parameters[name] = pb.InferParameter(string_param=said)
    if spec.limits:
        parameters["limits"] = pb.InferParameter(string_param=json.dumps(spec.limits))
    if spec.derived:
        derived = {axis: size.fields for axis, size in spec.derived.items()}
        parameters["derived"] = pb.InferParameter(string_param=json.dumps(derived))
    for name, bound in (("low", spec.low), ("high", spec.high)):
        if bound is not None:
            parameters[name] = (
                pb.InferParameter(double_param=bound) if spec.is_float else pb.InferParameter(int64_param=int(bound))
            )
    return pb.ModelMetadataResponse.TensorMetadata(
        name=spec.name, datatype=spec.datatype, shape=spec.sizes, parameters=parameters
    )


def statistics_message(name: str, version: str, statistics: Statistics) -> pb.ModelStatistics:
    """Return a version's statistics in this process, as in Triton's statistics extension.

    In `inference_stats` the whole time of a run counts for each request in it, in `batch_stats` once. `compute_infer`
    covers a whole run, including joining and splitting. `compute_input` and `compute_output` have the same count but no
    time, because perf_analyzer fails if the three counts differ.
    """
    numbers = statistics.since_loaded()
    requests = round(numbers[places.ANSWERED] - numbers[places.REFUSED_AFTER_RUN])
    run_ns, wait_ns = _nanoseconds(numbers[places.REQUEST_RUN_SECONDS]), _nanoseconds(numbers[places.WAIT_SECONDS])
    refusals = places.refusals(numbers)
    buckets = numbers[places.ANSWER_BUCKETS : places.WAIT_BUCKETS]
    return pb.ModelStatistics(
        name=name,
        version=version,
        last_inference=int(statistics.last * 1000),  # milliseconds since the epoch
        inference_count=round(numbers[places.ROWS]),
        execution_count=round(places.runs(numbers)),
        inference_stats=pb.InferStatistics(
            success=pb.StatisticDuration(count=requests, ns=wait_ns + run_ns),
            fail=pb.StatisticDuration(count=round(sum(refusals)), ns=_nanoseconds(numbers[places.FAILED_SECONDS])),
            queue=pb.StatisticDuration(count=requests, ns=wait_ns),
            compute_input=pb.StatisticDuration(count=requests),
            compute_infer=pb.StatisticDuration(count=requests, ns=run_ns),
            compute_output=pb.StatisticDuration(count=requests),
        ),
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=rows,
                compute_input=pb.StatisticDuration(count=count),
                compute_infer=pb.StatisticDuration(count=count, ns=_nanoseconds(seconds)),
                compute_output=pb.StatisticDuration(count=count),
            )
            for rows, (count, seconds) in sorted(statistics.sizes.copy().items())
        ],
        refusals=[
            pb.RefusalStatistics(status=status, reason=reason, count=round(number))
            for (status, reason), number in zip(places.REFUSALS, refusals, strict=True)
            if number
        ],
        duration_buckets=[
            pb.DurationBucket(lower_bound=lower, upper_bound=upper, count=round(number))
            for (lower, upper), number in zip(_BOUNDS, buckets, strict=True)
            if number
        ],
    )


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
