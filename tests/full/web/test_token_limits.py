"""Limits of tokens, and wrong ones, over HTTP: of all workers, and with few lines in the log."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.served import served
from kit.tokens import add_limited, tokens_in
from kit.waiting import PATIENCE, until
from rnnserve.client import (
    Client,
    ResourceExhausted,
    Unauthenticated,
)

from .locked_fronts import BODY, SIMPLE, LockedFront

INPUTS = {"input": np.zeros((1, 3, 2), "f4")}


def test_wrong_tokens_are_told_to_wait_and_make_few_lines_in_the_log(repository, tmp_path):
    tokens = tokens_in(tmp_path)
    settings: dict[str, Any] = {"http_port": 0, "metrics_port": 0, "tokens": tokens.path, "max_wrong_tokens": 5}
    with served(repository, "process", **settings) as process:
        address, metrics = process.http_address, process.metrics_address
        front = LockedFront(process, address, metrics, tokens)
        infer = f"/v2/models/{SIMPLE}/infer"
        for path, method, body in ((infer, "POST", BODY), ("/v2", "GET", None), ("/page/models", "GET", None)):
            replies = [front.ask(path, tokens.unknown, method, body) for _ in range(40)]
            status, headers, text = replies[-1]
            assert status == 429
            assert 1 <= int(headers["retry-after"]) <= 60
            assert b"bring no valid token" in text
            assert front.ask(path, "", method, body)[0] == 401
            assert front.ask(path, tokens.infer, method, body)[0] == 200
        for where in (metrics, address):
            replies = [front.ask("/metrics", tokens.unknown, address=where) for _ in range(40)]
            assert replies[-1][0] == 429
            assert 1 <= int(replies[-1][1]["retry-after"]) <= 60
            assert front.ask("/metrics", tokens.metrics, address=where)[0] == 200
        with Client(process.address, token=tokens.unknown) as client:
            for _ in range(300):
                with pytest.raises((Unauthenticated, ResourceExhausted)):
                    client.infer(SIMPLE, INPUTS)
        with Client(process.address, token=tokens.infer) as client:
            assert client.infer(SIMPLE, INPUTS)
        assert len(process.log.splitlines()) < 100
        assert tokens.unknown[4:] not in process.log


def test_workers_share_the_limits_of_a_token(repository, tmp_path):
    tokens = tokens_in(tmp_path)
    token = add_limited(tokens.path, "slow", "rate = 0.001")
    with served(repository, "process", workers=2, http_port=0, tokens=tokens.path) as process:
        front = LockedFront(process, process.http_address, "", tokens)
        outcomes = []
        for _ in range(20):  # each on a connection of its own: the kernel gives some to either worker
            with Client(process.address, token=token, timeout=PATIENCE) as client:
                try:
                    client.infer(SIMPLE, INPUTS)
                except ResourceExhausted:
                    outcomes.append(429)
                else:
                    outcomes.append(200)
        outcomes += [front.ask(f"/v2/models/{SIMPLE}/infer", token, "POST", BODY)[0] for _ in range(10)]
        assert outcomes == [200] + [429] * 29
        with Client(process.address, token=tokens.infer) as client:
            assert client.infer(SIMPLE, INPUTS)
        for worker in process.children():
            if b"--report-fd" in Path(f"/proc/{worker}/cmdline").read_bytes():
                os.kill(worker, signal.SIGKILL)
        until(lambda: front.ask(f"/v2/models/{SIMPLE}/infer", tokens.infer, "POST", BODY)[0] == 200)
        assert front.ask(f"/v2/models/{SIMPLE}/infer", token, "POST", BODY)[0] == 429  # those that came after know it
