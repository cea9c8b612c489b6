"""Wrong tokens over HTTP: they keep no valid one out, and make few lines in the log."""

from typing import Any

import numpy as np
import pytest

from kit.served import served
from kit.tokens import tokens_in
from rnnserve.client import Client, Unauthenticated

from .locked_fronts import BODY, SIMPLE, LockedFront

INPUTS = {"input": np.zeros((1, 3, 2), "f4")}


def test_wrong_tokens_keep_no_valid_one_out_and_make_few_lines_in_the_log(repository, tmp_path):
    tokens = tokens_in(tmp_path)
    settings: dict[str, Any] = {"http_port": 0, "metrics_port": 0, "tokens": tokens.path}
    with served(repository, "process", **settings) as process:
        address, metrics = process.http_address, process.metrics_address
        front = LockedFront(process, address, metrics, tokens)
        infer = f"/v2/models/{SIMPLE}/infer"
        for path, method, body in ((infer, "POST", BODY), ("/v2", "GET", None), ("/page/models", "GET", None)):
            assert {front.ask(path, tokens.unknown, method, body)[0] for _ in range(40)} == {401}
            assert front.ask(path, "", method, body)[0] == 401
            assert front.ask(path, tokens.infer, method, body)[0] == 200
        for where in (metrics, address):
            assert {front.ask("/metrics", tokens.unknown, address=where)[0] for _ in range(40)} == {401}
            assert front.ask("/metrics", tokens.metrics, address=where)[0] == 200
        with Client(process.address, token=tokens.unknown) as client:
            for _ in range(300):
                with pytest.raises(Unauthenticated):
                    client.infer(SIMPLE, INPUTS)
        with Client(process.address, token=tokens.infer) as client:
            assert client.infer(SIMPLE, INPUTS)
        assert len(process.log.splitlines()) < 100
        assert tokens.unknown[4:] not in process.log
