"""Models with states that a test can redo, on a server that loses steps and seals states."""

# ruff: noqa: ARG002, N802 - a fake's methods have the names and arguments of the protocol's

import base64
from dataclasses import dataclass, field

import numpy as np

from kit.fakes import FakeModel, FakeModels
from rnnserve.protos import inference_pb2 as pb

STATE = (("layers", 1), "batch", ("features", 2))


def add_up(tensors):
    """Over (sequence, batch, features), with a state (1, batch, features)."""
    points = tensors["x"]
    lengths = tensors.get("steps", np.full(points.shape[1], len(points)))
    inside = (np.arange(len(points))[:, None] < lengths)[..., None]
    state = tensors.get("start", np.zeros((1, *points.shape[1:]), "<f4"))
    running = (np.cumsum(points * inside, axis=0) + state).astype("<f4")
    return {"running": running, "last": running[-1], "end": running[-1:]}


def act(tensors):
    memory = tensors["memory"] + tensors["observation"]
    return {"action": memory.sum(axis=1, keepdims=True), "next": memory}


def count(tensors):
    state = tensors.get("seen", np.zeros(len(tensors["tokens"]), "<i8"))
    return {"doubled": 2 * tensors["tokens"], "seen_n": state + tensors["tokens"].shape[1]}


def meet(tensors):
    return {"sum": tensors["source"].sum(1) + tensors["target"].sum(1) + tensors["h"], "h_n": tensors["h"]}


SUMS = FakeModel(
    {
        "x": ("FP32", ("sequence", "batch", ("features", 2))),
        "steps": ("INT32", ("batch",), {"lengths_of": "sequence", "optional": True}),
        "start": ("FP32", STATE, {"optional": True}),
    },
    {
        "running": ("FP32", ("sequence", "batch", ("features", 2))),
        "last": ("FP32", ("batch", ("features", 2))),
        "end": ("FP32", STATE, {"continues_as": "start"}),
    },
    add_up,
    {"continuable": "true"},
)
POLICY = FakeModel(
    {"observation": ("FP32", ("batch", ("features", 2))), "memory": ("FP32", ("batch", ("features", 2)))},
    {
        "action": ("FP32", ("batch", ("actions", 1))),
        "next": ("FP32", ("batch", ("features", 2)), {"continues_as": "memory"}),
    },
    act,
)
MODELS = {
    "sums": SUMS,
    "policy": POLICY,
    "tokens": FakeModel(
        {"tokens": ("INT64", ("batch", "sequence")), "seen": ("INT64", ("batch",), {"optional": True})},
        {"doubled": ("INT64", ("batch", "sequence")), "seen_n": ("INT64", ("batch",), {"continues_as": "seen"})},
        count,
        {"batching": "joined"},
    ),
    "stateless": FakeModel(POLICY.inputs, {"action": POLICY.outputs["action"]}, act),
    "both_ways": FakeModel(
        SUMS.inputs, SUMS.outputs, add_up, {"continuable": "false", "sequences": "it reads from the end"}
    ),
    "two_axes": FakeModel(
        {
            "source": ("FP32", ("batch", "source")),
            "target": ("FP32", ("batch", "target")),
            "h": ("FP32", ("batch",), {"optional": True}),
        },
        {"sum": ("FP32", ("batch",)), "h_n": ("FP32", ("batch",), {"continues_as": "h"})},
        meet,
    ),
}


@dataclass
class FailingModels(FakeModels):
    """Loses steps as often as a test wants, and seals states: a token is the states themselves, in base64.

    Attributes:
        failures: Status of each of the next requests, and whether it was computed before it was lost; the status is
            None for a request that succeeds.
        seals: Whether the server seals states.
        forgets: Whether it leaves the token out.
        sessions: The session parameter of each request that has one.
        asked_versions: The version that each request named.
    """

    failures: list = field(default_factory=list)
    seals: bool = False
    forgets: bool = False
    sessions: list = field(default_factory=list)
    asked_versions: list = field(default_factory=list)

    def ServerMetadata(self, request, context):
        return pb.ServerMetadataResponse(name="fake", version="1", extensions=["sealed_sessions"] * self.seals)

    def ModelInfer(self, request, context):
        failure, is_lost = self.failures.pop(0) if self.failures else (None, False)
        if failure is not None and not is_lost:
            context.abort(failure, "the server is stopping")
        self.asked_versions.append(request.model_version)
        infer = self._continue if "session" in request.parameters else super().ModelInfer
        answer = infer(request, context)
        if failure is not None:
            context.abort(failure, "the connection is lost")
        return answer

    def _continue(self, request, context):
        model = self.models[request.model_name]
        token = request.parameters["session"].string_param
        self.sessions.append(token)
        pairs = {kind[2]["continues_as"]: name for name, kind in model.outputs.items() if len(kind) > 2}
        asked = [output.name for output in request.outputs]
        if token != "sealed":
            kept = pb.ModelInferRequest.FromString(base64.b64decode(token))
            request.inputs.extend(kept.inputs)
            request.raw_input_contents.extend(kept.raw_input_contents)
        for name in pairs.values():
            request.outputs.add(name=name)
        answer = super().ModelInfer(request, context)
        kept = pb.ModelInferRequest()
        for initial, final in pairs.items():
            at = [output.name for output in answer.outputs].index(final)
            output = answer.outputs[at]
            kept.inputs.add(name=initial, datatype=output.datatype, shape=output.shape)
            kept.raw_input_contents.append(answer.raw_output_contents[at])
        del answer.outputs[len(asked) :], answer.raw_output_contents[len(asked) :]
        if not self.forgets:
            answer.parameters["session"].string_param = base64.b64encode(kept.SerializeToString()).decode()
        return answer
