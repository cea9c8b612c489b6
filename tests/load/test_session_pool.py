import numpy as np
import pytest

from kit.load_tests import metadata
from rnnserve.client import InvalidRequest, ModelMetadata, TensorMetadata
from rnnserve.load.session_pool import build_pool
from rnnserve.protos import inference_pb2 as pb

STATE = ("layers * directions", "batch", "hidden")


def model(name="gru", **parameters):
    """Its state comes before its points, as in no request of a session."""
    inputs = {
        "h_0": TensorMetadata("h_0", "FP32", (2, -1, 3), STATE, optional=True),
        "x": TensorMetadata("x", "FP32", (-1, -1, 4), ("batch", "sequence", "features")),
        "c_0": TensorMetadata("c_0", "FP64", (1, -1, 5), STATE, optional=True),
    }
    outputs = {
        "c_n": TensorMetadata("c_n", "FP64", (1, -1, 5), STATE, continues_as="c_0"),
        "logits": TensorMetadata("logits", "FP32", (-1, 2), ("batch", "classes")),
        "h_n": TensorMetadata("h_n", "FP32", (2, -1, 3), STATE, continues_as="h_0"),
    }
    return ModelMetadata(name, ("1",), "", inputs, outputs, None, parameters)


def whole(pool, script, step, states=None):
    fields = script.begin("a session") if states is None else states
    return pb.ModelInferRequest.FromString(pool.payloads[script.first + step] + fields)


def test_step_s_states_are_appended(spec):
    pool = build_pool(spec(model(), length="1", batch="3", sessions=2, steps=4))
    assert [(script.first, script.steps) for script in pool.scripts] == [(0, 4), (4, 4)]
    assert len(pool.payloads) == len(set(pool.payloads)) == 8
    assert (pool.rows.tolist(), pool.model.tolist()) == ([3] * 8, [0] * 8)
    script = pool.scripts[1]
    request = whole(pool, script, 2)
    assert [(tensor.name, list(tensor.shape)) for tensor in request.inputs] == [
        ("x", [3, 1, 4]),
        ("h_0", [2, 3, 3]),
        ("c_0", [1, 3, 5]),
    ]
    assert [len(raw) for raw in request.raw_input_contents] == [3 * 4 * 4, 2 * 3 * 3 * 4, 3 * 5 * 8]
    assert not any(np.frombuffer(raw, np.uint8).any() for raw in request.raw_input_contents[1:])
    assert [output.name for output in request.outputs] == ["logits", "c_n", "h_n"]


def test_states_of_an_answer_go_into_the_next_step(spec):
    pool = build_pool(spec(model(), length="1", sessions=1, steps=2))
    (script,) = pool.scripts
    h_n, c_n = b"h" * 24, b"c" * 40
    states = script.go_on("a session", 1, pb.ModelInferResponse(raw_output_contents=[b"logits", c_n, h_n]))
    assert list(whole(pool, script, 1, states).raw_input_contents)[1:] == [h_n, c_n]


def test_server_side_states_need_a_sequence_id(spec):
    """Of models whose states were found: they are no part of the interface."""
    inputs = {"x": TensorMetadata("x", "FP32", (-1, -1, 4), ("batch", "sequence", "features"))}
    outputs = {"logits": TensorMetadata("logits", "FP32", (-1, -1, 2), ("batch", "sequence", "classes"))}
    kept = ModelMetadata(
        "tagger", ("1",), "", inputs, outputs, None, {"found_states": '["gru.h"]', "sequences": "kept"}
    )
    pool = build_pool(spec(kept, length="1", sessions=1, steps=3))
    (script,) = pool.scripts
    assert script.begins_anew_after_failure
    said = [
        {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in request.parameters.items()}
        for request in (
            whole(pool, script, 0),
            *(whole(pool, script, step, script.go_on("a session", step, pb.ModelInferResponse())) for step in (1, 2)),
        )
    ]
    assert said == [
        {"sequence_id": "a session", "sequence_start": True},
        {"sequence_id": "a session"},
        {"sequence_id": "a session", "sequence_end": True},
    ]


def test_answers_are_checked_unless_checks_are_off(spec):
    pool = build_pool(spec(model(batch_invariant="true"), sessions=2, steps=3))
    assert [check.key for check in pool.answers.values()] == list(range(6))
    assert all(check.is_exact for check in pool.answers.values())
    assert not build_pool(spec(model(), sessions=2, steps=3, check=False)).answers


def test_models_without_sessions_are_refused(spec):
    assert build_pool(spec()).scripts == ()
    with pytest.raises(InvalidRequest, match="model walks has no states, so that it has no sessions"):
        build_pool(spec(metadata(), sessions=1, steps=1))
    whole = model(continuable="false", sequences="gru (bidirectional) reads the sequence from its end")
    with pytest.raises(InvalidRequest, match=r"a part at a time, since gru \(bidirectional\) reads the sequence"):
        build_pool(spec(whole, sessions=1, steps=1))
    with pytest.raises(InvalidRequest, match=r"model gru has no sessions: .* a part at a time$"):
        build_pool(spec(model(continuable="false"), sessions=1, steps=1))
