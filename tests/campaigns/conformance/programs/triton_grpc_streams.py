"""tritonclient over gRPC: streams, and sequences of requests."""

from campaigns.conformance.programs.arrays import same
from campaigns.conformance.programs.reporting import feature
from campaigns.conformance.programs.triton_grpc_calls import CLASSIFIER, MODEL, WAIT, client, point, stream, walk


@feature("stream")
def streaming() -> None:
    asked, count = client(), 50
    with stream(asked, stream_timeout=WAIT) as answers:
        for index in range(count):
            asked.async_stream_infer(MODEL, walk(index % len(CLASSIFIER["walks"]))[0], request_id=str(index))
        for index in range(count):
            result, error = answers.get(timeout=WAIT)
            assert error is None, error
            assert result.get_response().id == str(index)
            same(result.as_numpy("logits"), walk(index % len(CLASSIFIER["walks"]))[1])


@feature("stream-final")
def stream_final() -> None:  # simple_grpc_custom_repeat.py
    asked = client()
    with stream(asked) as answers:
        for is_wanted in (False, True):
            asked.async_stream_infer(MODEL, walk()[0], enable_empty_final_response=is_wanted)
            result, error = answers.get(timeout=WAIT)
            assert error is None, error
            assert result.get_response().parameters["triton_final_response"].bool_param
            same(result.as_numpy("logits"), walk()[1])


@feature("stream-error")
def stream_error() -> None:
    asked = client()
    with stream(asked) as answers:
        asked.async_stream_infer("unknown", walk()[0])
        asked.async_stream_infer(MODEL, walk()[0])
        _, error = answers.get(timeout=WAIT)
        assert error is not None
        assert "unknown" in error.message()
        result, error = answers.get(timeout=WAIT)
        assert error is None, error
        same(result.as_numpy("logits"), walk()[1])


@feature("stream-end")
def stream_end() -> None:
    asked = client()
    with stream(asked, headers={"triton_grpc_error": "true"}) as answers:
        asked.async_stream_infer("unknown", walk()[0])
        _, error = answers.get(timeout=WAIT)
        assert error.status() == "StatusCode.NOT_FOUND", error


@feature("sequence-stream")
def sequence_stream() -> None:  # simple_grpc_sequence_stream_infer_client.py
    asked = client()
    walks = CLASSIFIER["walks"][:2]
    named = [70001, "by text"]
    with stream(asked) as answers:
        for step in range(max(len(points) for points in walks)):
            for index, points in enumerate(walks):
                if step < len(points):
                    asked.async_stream_infer(
                        MODEL,
                        point(points[step]),
                        request_id=f"{index}_{step}",
                        sequence_id=named[index],
                        sequence_start=step == 0,
                        sequence_end=step == len(points) - 1,
                    )
        for _ in range(sum(len(points) for points in walks)):
            result, error = answers.get(timeout=WAIT)
            assert error is None, error
            index, step = map(int, result.get_response().id.split("_"))
            if step == len(walks[index]) - 1:
                same(result.as_numpy("logits"), [CLASSIFIER["logits"][index]])


@feature("sequence-unary")
def sequence_unary() -> None:  # simple_grpc_sequence_sync_infer_client.py
    asked = client()
    points = CLASSIFIER["walks"][1]
    for step, values in enumerate(points):
        result = asked.infer(
            MODEL,
            point(values),
            sequence_id=70002,
            sequence_start=step == 0,
            sequence_end=step == len(points) - 1,
        )
    same(result.as_numpy("logits"), [CLASSIFIER["logits"][1]])
