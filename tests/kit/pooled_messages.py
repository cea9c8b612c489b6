"""Calls whose messages a test sends, and a clock that it sets: for tests of pools of threads."""

import threading

import grpc

from kit.waiting import until

__all__ = ["PATIENCE", "Clock", "Context", "Messages", "receiving", "result_meanwhile"]

PATIENCE = 20.0


class Clock:
    """Stands still until it is set forward."""

    def __init__(self):
        self.at = 100.0

    def __call__(self):
        return self.at

    def go_on(self, seconds=1.0):
        self.at += seconds


class Context:
    """A call's: `cancel` ends the wait of its messages."""

    def __init__(self, connection="ipv4:127.0.0.1:1"):
        self.cancelled = threading.Event()
        self._connection = connection

    def peer(self):
        return self._connection

    def cancel(self):
        self.cancelled.set()


class Messages:
    """A stream whose message comes when it is told, or never: then it ends as grpcio ends it."""

    def __init__(self, context):
        self.context = context
        self.may_come = threading.Event()

    def __next__(self):
        while not self.may_come.is_set():
            if self.context.cancelled.wait(0.01):
                raise grpc.RpcError
        return b"message"


def receiving(pool):
    """What receives a message, from `Messages` and `Context` in the place of grpcio's."""
    return pool.receive


def result_meanwhile(call, clock):
    """What comes of a call while time goes by."""
    until(call.done, meanwhile=clock.go_on)
    return call.result()
