"""Streams of requests: clients that wait and don't wait, large steps, and more than may be in flight."""

from concurrent import futures

from kit.inference_requests import request
from kit.sequence_requests import (
    SIMPLE,
    answers_of,
    walk,
)
from kit.served import served


def test_requests_beyond_the_flight_limit_wait_at_the_client(repository):
    """256 of a stream, 1,024 of a connection: the client sends them later, and all are answered."""
    message = request(SIMPLE, {"input": walk(1)}, ["logits"])
    with served(repository) as server, futures.ThreadPoolExecutor(8) as pool:
        stub = server.stub
        answers = list(pool.map(lambda _: answers_of(stub, iter([message] * 600)), range(8)))
    assert [len(of_stream) for of_stream in answers] == [600] * 8
    assert not any(answer.error_message for of_stream in answers for answer in of_stream)
