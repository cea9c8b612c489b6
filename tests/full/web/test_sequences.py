"""Sequences over HTTP before several workers and several fronts: they go on, or are refused with what to do instead."""

import contextlib
import http.client
import json
import os
import signal
from typing import Any

import numpy as np
import pytest

from kit.served import served_process
from kit.waiting import PATIENCE, until

SIMPLE = "direction_simple"
WALK = np.random.default_rng(0).normal(size=(1, 6, 2)).astype("f4")


@pytest.fixture(scope="module")
def web_server(repository, tmp_path_factory):
    """Two workers behind two fronts."""
    key = tmp_path_factory.mktemp("sequences") / "key"
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    with served_process(repository, http_port=0, workers=2, session_key=key) as process:
        with contextlib.closing(Connection(process.http_address)) as connection:
            until(lambda: connection.ask(WALK)[0] == 200)
        yield process
        assert "Traceback" not in process.log


@pytest.fixture
def connect(web_server):
    """Makes connections, which are closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(contextlib.closing(Connection(web_server.http_address)))


class Connection(http.client.HTTPConnection):
    """One connection of one client."""

    def __init__(self, host):
        super().__init__(host, timeout=PATIENCE)

    def ask(self, walk, *inputs, **parameters):
        sent = [{"name": "input", "datatype": "FP32", "shape": list(walk.shape), "data": walk.tolist()}, *inputs]
        body = {"inputs": sent, "outputs": [{"name": "logits"}, {"name": "h_n"}], "parameters": parameters}
        self.request("POST", f"/v2/models/{SIMPLE}/infer", json.dumps(body))
        reply = self.getresponse()
        return reply.status, json.loads(reply.read())

    def step(self, at, **parameters):
        ends = {"sequence_start": at == 0, "sequence_end": at == WALK.shape[1] - 1}
        return self.ask(WALK[:, at : at + 1], **ends, **parameters)


class Carried:
    """The client has the states."""

    inputs: Any = ()

    def step(self, connection, at):
        status, said = connection.ask(WALK[:, at : at + 1], *self.inputs)
        self.inputs = [output | {"name": "h_0"} for output in said["outputs"] if output["name"] == "h_n"]
        return status, said


class Sealed:
    """The client has the states, and cannot read them."""

    token = "sealed"

    def step(self, connection, at):
        status, said = connection.ask(WALK[:, at : at + 1], session=self.token)
        self.token = said["parameters"]["session"]
        return status, said


@pytest.mark.parametrize("states", [Carried, Sealed])
def test_sequence_continues_over_new_connections_and_new_gateways(web_server, connect, states):
    """Whichever front takes a connection, and whichever worker a step."""
    whole = connect().ask(WALK)[1]["outputs"]
    stepper = states()
    for at in range(WALK.shape[1]):
        if at == 3:
            for number in web_server.children(b"\0web\0"):
                os.kill(number, signal.SIGKILL)
        status, said = stepper.step(connect(), at)
        assert status == 200, said
    assert said["outputs"] == whole


def test_sequence_of_an_ended_worker_is_refused_with_a_remedy(web_server, connect):
    """Each connection has one worker as long as that lives, also when all have the same id."""
    clients = [connect() for _ in range(8)]
    for at in range(3):
        assert {client.step(at, sequence_id=9)[0] for client in clients} == {200}
    web_server.send(signal.SIGHUP)
    until(lambda: "every worker has been replaced" in web_server.log)
    for client in clients:
        status, said = client.step(3, sequence_id=9)
        assert (status, "keep its states in the client" in said["error"]) == (404, True)
