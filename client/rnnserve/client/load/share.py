"""One generator's share of each load: what runs in its process."""

import asyncio
import gc
import signal
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from rnnserve.client.channel import channel_options
from rnnserve.client.errors import ClientError, Unavailable
from rnnserve.client.load.arrivals import schedule
from rnnserve.client.load.generator import Generator, Send, run_precisely
from rnnserve.client.load.plan import Load
from rnnserve.client.load.samples import Tally, tally
from rnnserve.client.load.workload import Pool, WorkloadSpec, build_pool

__all__ = ["Target", "make_loads"]

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_MAX_ANSWER_BYTES = 64 << 20
_ORDER = 1 << 14
_TICK = 0.1


@dataclass(frozen=True)
class Target:
    """Whom to ask: the server's `host:port`, and how many connections each generator opens to it."""

    address: str
    connections: int = 4


@dataclass(frozen=True)
class _Part:
    """Which generator this is, of how many."""

    index: int
    count: int

    def share(self, whole: int) -> int:
        """Return this generator's part of a number of things."""
        return whole // self.count + (self.index < whole % self.count)


def make_loads(pipe: Connection, target: Target, spec: WorkloadSpec, index: int, count: int, counters: Any) -> None:  # noqa: ANN401 - ctypes' arrays have no public type
    """Make one share of each load that comes through the pipe, until its other end closes.

    For each load, says with an empty message that it is ready, waits for the time to begin, and sends its `Tally` and
    the seconds measured. Sends an error instead where there was one, and ends.

    Args:
        pipe: To the process that decides.
        target: Whom to ask.
        spec: What to ask.
        index: Which generator this is.
        count: How many there are.
        counters: (2 * count,) of int64, shared: requests started and ended, of each generator.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that decides says what Ctrl-C ends
    part, loads = _Part(index, count), 0
    try:
        pool = build_pool(spec, index)
        # What was imported and built stays: no garbage collection has to look at it while requests are timed.
        gc.collect()
        gc.freeze()
        while True:
            load = pipe.recv()
            random = np.random.default_rng([spec.seed, index, loads])
            pipe.send(run_precisely(_measure(pipe, target, pool, load, part, random, counters)))
            loads += 1
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except ClientError as error:
        pipe.send(error)
    except Exception:  # noqa: BLE001 - raised again by the other side, with this traceback
        pipe.send(RuntimeError(f"a generator failed:\n{traceback.format_exc()}"))


async def _measure(
    pipe: Connection,
    target: Target,
    pool: Pool,
    load: Load,
    part: _Part,
    random: np.random.Generator,
    counters: Any,  # noqa: ANN401 - ctypes' arrays have no public type
) -> tuple[Tally, float]:
    """Make this generator's share of one load; return its sums and the seconds measured."""
    options = [*channel_options(_MAX_ANSWER_BYTES), ("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(target.address, options=options) for _ in range(target.connections)]
    try:
        await _connect(channels, target.address, load.timeout)
        order = random.integers(len(pool.payloads), size=_ORDER)
        generator = Generator(pool, [_send(channel) for channel in channels], order, load.timeout)
        times, cut_short = _times(load, part, random)
        pipe.send("")
        begin = pipe.recv()
        ticker = asyncio.create_task(_tick(generator, counters, part.index))
        cpu, start = time.process_time_ns(), time.perf_counter_ns()
        if load.closed:
            workers, most = part.share(load.closed), part.share(load.max_requests)
            counting = begin + int(load.warmup * 1e9)
            end = counting + int(load.duration * 1e9)
            cut_short = await generator.closed_loop(begin, counting, end, workers=workers, most=most)
        else:
            await generator.open_loop(begin, times)
        busy = (time.process_time_ns() - cpu) / max(1, time.perf_counter_ns() - start)
        ticker.cancel()
    finally:
        for channel in channels:
            await channel.close()
    return _sum_up(generator, pool, load, begin, busy, cut_short=cut_short)


def _times(load: Load, part: _Part, random: np.random.Generator) -> tuple[npt.NDArray[np.int64], bool]:
    """Return the schedule of an open loop's share, and whether it was cut behind the requests that may be sent."""
    if load.closed:
        return np.empty(0, np.int64), False
    # No more is drawn than can be sent: a day at a million a second would not fit into memory.
    seconds = load.warmup + min(load.duration, (1.2 * load.max_requests + 1000) / load.rate)
    times = schedule(load.arrivals, load.rate, seconds, random=random, part=part.index, parts=part.count)
    most = int(np.searchsorted(times, load.warmup * 1e9)) + part.share(load.max_requests)
    return times[:most], most < len(times)


def _sum_up(
    generator: Generator, pool: Pool, load: Load, begin: int, busy: float, *, cut_short: bool
) -> tuple[Tally, float]:
    samples, measured = generator.samples, begin + int(load.warmup * 1e9)
    end = measured + int(load.duration * 1e9)
    if cut_short:
        # A closed loop is over with its last answer, an open one when the last request was due.
        end = max(measured, min(end, max(samples.done if load.closed else samples.due, default=measured)))
    result = tally(samples, pool, begin=measured, end=end)
    result.cpu = [busy]
    return result, (end - measured) / 1e9


async def _connect(channels: list[grpc.aio.Channel], address: str, timeout: float) -> None:
    try:
        await asyncio.wait_for(asyncio.gather(*(channel.channel_ready() for channel in channels)), timeout)
    except TimeoutError as error:
        raise Unavailable(f"no server answers at {address} within {timeout:g} s") from error


def _send(channel: grpc.aio.Channel) -> Send:
    call: Callable[..., Awaitable[bytes]] = channel.unary_unary(_METHOD)
    return lambda payload, timeout: call(payload, timeout=timeout)


async def _tick(generator: Generator, counters: Any, index: int) -> None:  # noqa: ANN401 - ctypes' arrays have no public type
    """Say now and then how far the load is."""
    while True:
        counters[2 * index], counters[2 * index + 1] = generator.started, len(generator.samples.done)
        await asyncio.sleep(_TICK)
