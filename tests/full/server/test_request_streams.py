"""Streams of requests: clients that wait and don't wait, large steps, and more than may be in flight."""

from concurrent import futures

import grpc

from kit.inference_requests import request
from kit.sequence_requests import (
    PATIENCE,
    SIMPLE,
    answers_of,
    in_parts,
    raw,
    walk,
)
from kit.served import served


def test_a_compressed_or_large_step_keeps_its_place(stub):
    """They are parsed on other threads than small ones."""
    inputs = walk(600)
    whole = raw(stub.ModelInfer(request(SIMPLE, {"input": inputs}, ["logits", "h_n"])))
    wide = walk(600, rows=64)
    wide_whole = raw(stub.ModelInfer(request(SIMPLE, {"input": wide}, ["logits", "h_n"])))
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        answers = list(
            stub.ModelStreamInfer(in_parts(inputs, [1, 500, 1, 97, 1], 91), timeout=PATIENCE, compression=compression)
        )
        assert raw(answers[-1].infer_response) == whole
        answers = list(
            stub.ModelStreamInfer(in_parts(wide, [1, 500, 1, 97, 1], 92), timeout=PATIENCE, compression=compression)
        )
        assert raw(answers[-1].infer_response) == wide_whole


def test_more_requests_than_may_be_in_hand_wait_at_their_client(repository):
    """256 of a stream, 1,024 of a connection: the client sends them later, and all are answered."""
    message = request(SIMPLE, {"input": walk(1)}, ["logits"])
    with served(repository) as server, futures.ThreadPoolExecutor(8) as pool:
        stub = server.stub
        answers = list(pool.map(lambda _: answers_of(stub, iter([message] * 600)), range(8)))
    assert [len(of_stream) for of_stream in answers] == [600] * 8
    assert not any(answer.error_message for of_stream in answers for answer in of_stream)
