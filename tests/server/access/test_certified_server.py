"""A server that identifies its callers by client certificates, over its port and over the gateway's socket."""

import functools

import grpc
import numpy as np
import pytest

from kit.inference_requests import request
from kit.locked_servers import ASKED, BODIES, DENIED, SIMPLE, certified_server, check_each_method, front_statuses
from kit.tokens import bearer, tokens_in
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.protos.access_table import INFERENCE, METHODS, ROLES, Need
from rnnserve.protos.protocol_words import FRONT_EXCHANGE

UNAUTHENTICATED, DENIED_STATUS = DENIED
INFER = f"{INFERENCE}ModelInfer"
LARGE = request(SIMPLE, {"input": np.zeros((200, 50, 2), "f4")})


@pytest.fixture(scope="module")
def certified(repository, tmp_path_factory):
    with certified_server(repository, tmp_path_factory.mktemp("c")) as certified:
        yield certified


def stub_of(certified, kind):
    return rpc.GRPCInferenceServiceStub(certified.channels[kind])


def test_each_method_answers_only_its_roles(certified):
    for ask in (certified.ask, certified.ask_as_front):
        check_each_method({kind: functools.partial(ask, kind=kind) for kind in (*ROLES, "stranger")}, SIMPLE)
    for method, need in METHODS.items():
        if need is not Need.HEALTH and method != FRONT_EXCHANGE:
            assert certified.ask_as_front(method)[0] is UNAUTHENTICATED


def test_only_the_certificate_of_the_connection_counts_on_the_port(certified, tmp_path):
    for method in (INFER, f"{INFERENCE}ModelStreamInfer", f"{INFERENCE}ModelConfig"):
        assert certified.ask(method, "stranger", certified.told("admin"))[0] is UNAUTHENTICATED
    token = bearer(tokens_in(tmp_path).admin)
    assert certified.ask(INFER, "stranger", token)[0] is UNAUTHENTICATED
    assert certified.ask(INFER, "infer", token)[0] is grpc.StatusCode.OK


def test_certificate_grants_only_its_models(certified):
    elsewhere = stub_of(certified, "elsewhere")
    for asked in (ASKED["ModelInfer"], LARGE, ASKED["ModelInfer"]):
        with pytest.raises(grpc.RpcError) as refused:
            elsewhere.ModelInfer(asked)
        assert refused.value.code() is DENIED_STATUS
        (answer,) = elsewhere.ModelStreamInfer(iter([asked]))
        assert "another model" in answer.error_message
    assert not elsewhere.RepositoryIndex(pb.RepositoryIndexRequest()).models
    assert stub_of(certified, "infer").ModelInfer(LARGE).model_name == SIMPLE
    assert stub_of(certified, "named").ModelInfer(ASKED["ModelInfer"]).outputs


def test_gateway_requests_use_the_certificates_of_their_clients(certified):
    kinds = ["infer", "stranger", "metrics", "elsewhere", "", "admin"]
    headers = [dict(certified.told(kind)[:1]) if kind else {} for kind in kinds]
    unauthenticated, denied = (code.value[0] for code in DENIED)
    found = front_statuses(certified.socket, headers, BODIES["ModelInfer"])
    assert found == [0, unauthenticated, denied, denied, unauthenticated, 0]
