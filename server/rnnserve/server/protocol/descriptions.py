"""What the protocol's messages say of models: their tensors and origin, and what they have done."""

import json
from collections.abc import Sequence

from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.counting import places
from rnnserve.server.repository.repository import ServedVersion
from rnnserve.server.settings import Settings
from rnnserve.server.validation.signature import TensorSpec

__all__ = ["metadata_message", "statistics_message"]

_BOUNDS = tuple(zip((0.0, *places.SECONDS_BOUNDS), (*places.SECONDS_BOUNDS, 0.0), strict=True))


def metadata_message(served: ServedVersion, versions: Sequence[str], settings: Settings) -> pb.ModelMetadataResponse:
    """Describe a version: tensors with named axes, labels, which requests share a run, its origin, where it runs."""
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
    """Describe a tensor, with parameters that a client needs to fill it (docs/reference/protocol.md)."""
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
    """Describe what a version has done in this process, as Triton's statistics extension does.

    In `inference_stats` the whole time of a run counts for each request in it, in `batch_stats` once. `compute_infer`
    is the whole of a run here, joining and splitting included. `compute_input` and `compute_output` have the same count
    and no time of their own: perf_analyzer ends with an error where the three counts differ.
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
