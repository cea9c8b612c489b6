"""Calls whose message does not come: what a server says of them before that."""

import threading

import grpc


def statuses_before_a_message(channel, methods):
    """The statuses with which calls of these methods end, none of which sends anything; an answer fails the test."""
    never, statuses = threading.Event(), set()

    def messages():
        never.wait(20)
        yield b""

    try:
        for method in methods:
            call = channel.stream_stream(method)(messages(), timeout=10)
            try:
                raise AssertionError(f"{method} answers {next(call)!r}")
            except grpc.RpcError as refused:
                statuses.add(refused.code())
    finally:
        never.set()
    return statuses
