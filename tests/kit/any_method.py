"""Calls of a method of any kind, by its name."""

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


def ask_any(channel, method, body=b"", metadata=(), timeout=5.0):
    """Ask a method of any kind; the status, its words, and the first message, None where there is none."""
    calls = channel.stream_stream(method)(iter([body]), metadata=metadata, timeout=timeout)
    try:
        first = next(iter(calls), None)
        if first is not None:
            calls.cancel()
            return grpc.StatusCode.OK, "", first
        return calls.code(), calls.details(), None
    except grpc.RpcError as error:
        return error.code(), error.details(), None
