"""Attacks one after the other, each beside the bystander, and what each did to server and bystander."""

import dataclasses
import time
from collections.abc import Iterable, Iterator

import grpc

from .attack import Answers, Attack, Strike
from .bystander import Bystander, Sighting
from .resident_memory import ResidentMemory
from .target import Target

__all__ = ["METHODS", "Result", "drill"]

_RECOVERY = 30.0
"""Seconds that a method may take until it answers again after an attack, before it counts as gone."""

METHODS = 3
"""Methods that are asked after an attack."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What an attack did.

    Attributes:
        attack: The attack.
        answers: What the server answered.
        seen: What the bystander met, until the server answered a new connection again.
        memory: The server's, before the attack, at its peak and after it, in bytes; 0 where it is not known.
        gone: Methods that did not answer in the end, on a new connection.
        seconds: How long all of it took.
    """

    attack: Attack
    answers: Answers
    seen: Sighting
    memory: tuple[int, int, int]
    gone: tuple[str, ...]
    seconds: float


def drill(
    target: Target, attacks: Iterable[Attack], bystander: Bystander, seconds: float, pid: int | None = None
) -> Iterator[Result]:
    """Run attacks, and give what each did.

    Args:
        target: The server.
        attacks: What to run.
        bystander: A client that asks already.
        seconds: How long an attack may go on; what it has sent by then is waited for.
        pid: The server's process, if its memory is to be watched.
    """
    for attack in attacks:
        bystander.report()
        answers = Answers()
        started = time.monotonic()
        with ResidentMemory(pid) as memory:
            try:
                attack.run(Strike(target, answers, started + seconds))
            except OSError as error:  # a server that is gone, or takes no more connections
                answers.note("NO CONNECTION", type(error).__name__)
            gone = _gone(target)
        yield Result(
            attack=attack,
            answers=answers,
            seen=bystander.report(),
            memory=(memory.before, memory.peak, memory.after),
            gone=gone,
            seconds=time.monotonic() - started,
        )


def _gone(target: Target) -> tuple[str, ...]:
    """The methods that do not answer a new connection: servers have threads of their own for inference."""
    asked = {"ModelInfer": target.valid, "ServerLive": b"", "ModelMetadata": target.metadata_request}
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(target.address, options) as channel:
        calls: dict[str, grpc.Future[bytes]] = {}
        for method, payload in asked.items():
            send: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(target.path(method))
            calls[method] = send.future(payload, timeout=_RECOVERY, wait_for_ready=True)
        return tuple(method for method, call in calls.items() if call.exception() is not None)
