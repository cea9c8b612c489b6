"""One client's mistake never costs another's answer: a token id that validation cannot know to be wrong."""

import random
from concurrent import futures

import grpc
import numpy as np
import pytest

from kit.artifacts import build_model, publish_model, tensor
from kit.inference_requests import arrays, request
from kit.served import served
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc

TOKENS = 10
TABLE = np.random.default_rng(2).normal(size=(TOKENS, 3)).astype(np.float32)  # (tokens, classes)


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    """A repository with a model that sums table rows for its tokens. Its manifest doesn't bound the tokens."""
    inputs = [tensor("tokens", "INT64", "batch", "sequence")]
    outputs = [tensor("logits", "FP32", "batch", ("classes", 3))]
    nodes = "vectors = Gather (table, tokens)  logits = ReduceSum <keepdims = 0> (vectors, axis)"
    model = build_model(nodes, inputs, outputs, {"table": TABLE, "axis": np.array([1])})
    samples = [{"tokens": np.arange(batch * 4).reshape(batch, 4) % TOKENS} for batch in (1, 2, 3)]
    root = tmp_path_factory.mktemp("bags")
    publish_model(root, "bag", model, inputs, outputs, samples)
    return root


@pytest.fixture
def address(bags):
    with served(bags) as server:
        yield server.address


def asks(tokens, **more) -> pb.ModelInferRequest:
    return request("bag", {"tokens": np.array(tokens)}, **more)


ROUNDS, AT_ONCE = 6, 16


@pytest.mark.parametrize("lengths", [[4], [2, 3, 4]], ids=["one prefix", "mixed"])
def test_valid_requests_are_answered_beside_invalid_ones(address, lengths):
    def client(number: int) -> list[str]:
        """Ask many times, and return what was not as it should be. Clients 6 and 7 send ids that there are not."""
        chance, wrong = random.Random(number), []
        with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            infer = rpc.GRPCInferenceServiceStub(channel).ModelInfer
            for _ in range(ROUNDS):
                sent = [[chance.randrange(TOKENS) for _ in range(chance.choice(lengths))] for _ in range(AT_ONCE)]
                if number >= 6:
                    for tokens in sent:
                        tokens[-1] = chance.choice([TOKENS, 99, -11, 2**40])
                calls = [infer.future(asks([tokens])) for tokens in sent]
                wrong += [failure for pair in zip(sent, calls, strict=True) for failure in judge(number < 6, *pair)]
        return wrong

    def judge(is_good, tokens, call):
        if not is_good:
            if call.code() != grpc.StatusCode.INVALID_ARGUMENT or f"idx={tokens[-1]} " not in call.details():
                yield f"{tokens}: {call.code()} {call.details()}"
        elif call.code() != grpc.StatusCode.OK:
            yield f"{tokens}: {call.code()} {call.details()}"
        elif not np.allclose(arrays(call.result())["logits"], TABLE[tokens].sum(axis=0), atol=1e-5):
            yield f"{tokens}: another's answer"

    with futures.ThreadPoolExecutor(8) as pool:
        assert [failure for failures in pool.map(client, range(8)) for failure in failures] == []
    with grpc.insecure_channel(address) as channel:
        stub = rpc.GRPCInferenceServiceStub(channel)
        (said,) = stub.ModelStatistics(pb.ModelStatisticsRequest(name="bag")).model_stats
    assert said.inference_stats.success.count == said.inference_count == 6 * ROUNDS * AT_ONCE
    assert said.inference_stats.fail.count == 2 * ROUNDS * AT_ONCE
