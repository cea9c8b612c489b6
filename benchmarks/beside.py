"""`python -m benchmarks.beside REPOSITORY`: what kinds of requests for one model leave of each other.

REPOSITORY is a folder of `benchmarks.make_models`, .bench/models/logits_only for one. Two measurements, by turns:

- 16 sequences, each a point at a time, beside 16 whole requests of 1 to 64 points in flight: the rate of each alone,
  and beside the other. Where the model is shared evenly, each keeps half of the rate that it has alone.
- Requests of 4 points at half of the rate that is reached with 8 in flight, with a request of 4,096 points each second
  beside them, and without.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np

from benchmarks.answer_check import INFER_METHOD
from benchmarks.metrics import percentile
from benchmarks.requests import BenchmarkRequest, encode_request, encode_step
from benchmarks.servers import CONSOLE_SCRIPT, running_rnnserve

__all__ = ["main"]

_START_S = 120.0
_TIMEOUT_S = 30.0
_SEQUENCES, _WHOLE, _SMALL = 16, 16, 8
_STEPS_OF_SEQUENCE = 100


class _Client:
    """Sends requests to one model, and notes the seconds that each took, by kind."""

    def __init__(self, channel: grpc.aio.Channel, model: str) -> None:
        self._infer: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(INFER_METHOD)
        self._model = model
        self.took: dict[str, list[float]] = {}

    def whole_message(self, steps: int, draw: np.random.Generator) -> bytes:
        """Encode a request of one row."""
        input = draw.uniform(-1, 1, (1, steps, 2)).astype(np.float32)  # (batch, sequence, features)
        return encode_request(self._model, BenchmarkRequest(input, np.zeros((1, 2), np.float32)))

    async def ask(self, kind: str, message: bytes) -> None:
        """Send a request and wait for its answer."""
        began = time.perf_counter()
        await self._infer(message, timeout=_TIMEOUT_S)
        self.took.setdefault(kind, []).append(time.perf_counter() - began)

    async def step(self, number: int, until: float) -> None:
        """Send points of sequences, one after another."""
        at, point = 0, np.random.default_rng(number).uniform(-1, 1, (1, 1, 2)).astype(np.float32)
        while time.perf_counter() < until or at:
            ends = at == _STEPS_OF_SEQUENCE - 1 or time.perf_counter() >= until
            await self.ask("steps", encode_step(self._model, point, number + 1, starts=at == 0, ends=ends))
            at = 0 if ends else at + 1

    async def whole(self, number: int, until: float, kind: str = "whole", longest: int = 64) -> None:
        """Send requests, one after another."""
        draw = np.random.default_rng(number)
        while time.perf_counter() < until:
            await self.ask(kind, self.whole_message(int(draw.integers(1, longest + 1)), draw))

    async def at_rate(self, rate: float, until: float) -> None:
        """Send requests of 4 points at a rate, which do not wait for each other."""
        draw, at = np.random.default_rng(0), time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            while at < until:
                at += draw.exponential(1 / rate)
                await asyncio.sleep(max(at - time.perf_counter(), 0.0))
                tasks.create_task(self.ask("small", self.whole_message(4, draw)))

    async def long(self, until: float) -> None:
        """Send a request of 4,096 points each second."""
        draw, at = np.random.default_rng(0), time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            while at < until:
                tasks.create_task(self.ask("long", self.whole_message(4096, draw)))
                at += 1.0
                await asyncio.sleep(max(at - time.perf_counter(), 0.0))


async def _turn(port: int, model: str, seconds: float, *kinds: str, rate: float = 0.0) -> dict[str, list[float]]:
    """Send requests of some kinds at once; the seconds that each took, by kind."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        client, until = _Client(channel, model), time.perf_counter() + seconds
        senders: dict[str, list[Coroutine[Any, Any, None]]] = {
            "steps": [client.step(number, until) for number in range(_SEQUENCES)],
            "whole": [client.whole(number, until) for number in range(_WHOLE)],
            "closed": [client.whole(number, until, "closed", 4) for number in range(_SMALL)],
            "small": [client.at_rate(rate, until)],
            "long": [client.long(until)],
        }
        for kind in senders.keys() - set(kinds):
            for sender in senders[kind]:
                sender.close()
        await asyncio.gather(*[sender for kind in kinds for sender in senders[kind]])
        return client.took


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a line for each kind."""
    parser = argparse.ArgumentParser(description="measure what kinds of requests leave of each other")
    parser.add_argument("repository", type=Path)
    parser.add_argument("--model", default="gru_512", help="the model that is asked (%(default)s)")
    parser.add_argument("--rounds", type=int, default=4, metavar="N", help="turns of each kind (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn (%(default)g)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "models").mkdir()
        Path(folder, "models", args.model).symlink_to((args.repository / args.model).resolve())
        command = [CONSOLE_SCRIPT, "serve", str(Path(folder, "models")), "--no-http", "--grpc-port", "0"]
        with running_rnnserve("rnnserve", command, Path(folder, "log", "log"), timeout_s=_START_S) as server:
            server.wait_for_models()
            _measure_mixed(server.port, args)
            _measure_long(server.port, args)
    return 0


def _measure_mixed(port: int, args: argparse.Namespace) -> None:
    alone: dict[str, list[float]] = {"steps": [], "whole": []}
    mixed: dict[str, list[float]] = {"steps": [], "whole": []}
    for _ in range(args.rounds):
        for kinds, rates in ((("steps",), alone), (("steps", "whole"), mixed), (("whole",), alone)):
            took = asyncio.run(_turn(port, args.model, args.seconds, *kinds))
            for kind in kinds:
                rates[kind].append(len(took[kind]) / args.seconds)
    for kind in alone:
        before, beside = percentile(alone[kind], 0.5), percentile(mixed[kind], 0.5)
        print(f"{kind}: {before:,.0f}/s alone, {beside:,.0f}/s beside: {2 * beside / before:.2f} of half", flush=True)


def _measure_long(port: int, args: argparse.Namespace) -> None:
    rate = len(asyncio.run(_turn(port, args.model, args.seconds, "closed"))["closed"]) / args.seconds / 2
    quiet, beside, long = list[float](), list[float](), list[float]()
    for _ in range(args.rounds):
        quiet += asyncio.run(_turn(port, args.model, args.seconds, "small", rate=rate))["small"]
        took = asyncio.run(_turn(port, args.model, args.seconds, "small", "long", rate=rate))
        beside += took["small"]
        long += took["long"]
    for name, seconds in (("without", quiet), ("beside", beside), ("of 4,096 points", long)):
        p50, p99 = (1e3 * percentile(seconds, fraction) for fraction in (0.5, 0.99))
        print(f"small at {rate:,.0f}/s, {name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms", flush=True)


if __name__ == "__main__":
    sys.exit(main())
