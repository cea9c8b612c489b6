"""The code of one generator process: it runs its part of each load level."""

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

from rnnserve.client import ClientError, Unavailable
from rnnserve.client.channel import channel_options
from rnnserve.client.endpoint import Endpoint
from rnnserve.load.answer_checks import AnswerChecker
from rnnserve.load.arrivals import draw_schedule
from rnnserve.load.even_draws import draw_rounds
from rnnserve.load.interim_counts import InterimCounts
from rnnserve.load.load_generator import LoadGenerator, SendRequest, run_precisely
from rnnserve.load.load_level import LoadLevel
from rnnserve.load.load_statistics import LoadStatistics, summarize_samples
from rnnserve.load.session_pool import build_pool
from rnnserve.load.workload import RequestPool, WorkloadSpec

__all__ = ["LoadTarget", "run_generator_worker"]

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_MAX_ANSWER_BYTES = 64 << 20
_ORDER_LENGTH = 1 << 14
_TICK_SECONDS = 0.1
_SHARED_DRAWS = 1 << 20
"""In place of a generator's index, in the seed of what all generators draw equally."""


@dataclass(frozen=True)
class LoadTarget:
    """The server, and the number of connections that each generator opens to it."""

    endpoint: Endpoint
    connections: int = 4


@dataclass(frozen=True)
class _WorkerShare:
    """The index of this generator, and the number of generators."""

    index: int
    count: int

    def of(self, total: int) -> int:
        """Return this generator's part of a total number."""
        return total // self.count + (self.index < total % self.count)


@dataclass(frozen=True)
class _Draws:
    """Random numbers of this generator alone, and those that are equal in all generators."""

    own: np.random.Generator
    shared: np.random.Generator


def run_generator_worker(
    pipe: Connection,
    target: LoadTarget,
    spec: WorkloadSpec,
    index: int,
    count: int,
    counters: Any,  # noqa: ANN401 - ctypes' arrays have no public type
) -> None:
    """Run this generator's part of each load level that arrives on the pipe, until the pipe closes.

    For each level, receive the level and its number; send an empty message when ready; receive the start time; send the
    `LatencyCounts` of each look, if the level has looks; then send the `LoadStatistics` and the measured seconds. After
    an error, send the error instead and end.

    Args:
        pipe: Connection to the parent process.
        target: The server, and the connections to it.
        spec: The requests to send.
        index: Index of this generator.
        count: Number of generators.
        counters: (2 * count + 1,) int64, shared memory: requests started and requests ended, for each generator; then
            the time from which no request of this level is due any more, nanoseconds, 0 for none.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    share = _WorkerShare(index, count)
    try:
        pool = build_pool(spec, index)
        checker = AnswerChecker(pool.answers)
        # Objects made so far live until the end: exclude them from garbage collections during the measurement.
        gc.collect()
        gc.freeze()
        while True:
            load, number = pipe.recv()
            draws = _Draws(
                np.random.default_rng([spec.seed, index, number]),
                np.random.default_rng([spec.seed, _SHARED_DRAWS, number]),
            )
            pipe.send(run_precisely(_measure(pipe, target, pool, checker, load, share, draws, counters)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except ClientError as error:
        pipe.send(error)
    except Exception:  # noqa: BLE001 - the parent process raises it, with this traceback
        pipe.send(RuntimeError(f"a generator failed:\n{traceback.format_exc()}"))


async def _measure(
    pipe: Connection,
    target: LoadTarget,
    pool: RequestPool,
    checker: AnswerChecker,
    load: LoadLevel,
    share: _WorkerShare,
    draws: _Draws,
    counters: Any,  # noqa: ANN401 - ctypes' arrays have no public type
) -> tuple[LoadStatistics, float]:
    """Run this generator's part of one load level; return its statistics and the measured seconds."""
    options = [*channel_options(_MAX_ANSWER_BYTES), ("grpc.use_local_subchannel_pool", 1)]
    channels = [target.endpoint.open_async_channel(options) for _ in range(target.connections)]
    try:
        await _connect(channels, target.endpoint.address, load.timeout)
        order = draw_rounds(len(pool.payloads), _ORDER_LENGTH, draws.own)
        generator = LoadGenerator(
            pool, [_sender(channel, target.endpoint) for channel in channels], order, load.timeout, checker=checker
        )
        schedule, cut_short = _draw_share(load, share, draws)
        pipe.send("")
        begin = pipe.recv()
        measure_from = begin + int(load.warmup * 1e9)
        end, most = measure_from + int(load.duration * 1e9), share.of(load.max_requests)
        looks = None
        if load.objective is not None and load.has_looks:
            looks = InterimCounts(generator.samples, load.objective.durations, measure_from, end)
        ticker = asyncio.create_task(_tick(pipe, generator, looks, counters, share))
        cpu_start, start = time.process_time_ns(), time.perf_counter_ns()
        if load.sessions:
            cut_short = await generator.session_loop(
                begin,
                measure_from=measure_from,
                end=end,
                sessions=share.of(load.sessions),
                think=int(load.think * 1e9),
                max_requests=most,
            )
        elif load.closed:
            cut_short = await generator.closed_loop(
                begin, measure_from=measure_from, end=end, workers=share.of(load.closed), max_requests=most
            )
        else:
            await generator.open_loop(begin, schedule)
        cpu = (time.process_time_ns() - cpu_start) / max(1, time.perf_counter_ns() - start)
        ticker.cancel()
    finally:
        for channel in channels:
            await channel.close()
    return _summarize(generator, pool, load, begin, cpu, cut_short=cut_short)


def _draw_share(load: LoadLevel, share: _WorkerShare, draws: _Draws) -> tuple[npt.NDArray[np.int64], bool]:
    """Draw this generator's part of an open loop's schedule.

    Returns:
        schedule: (requests,) int64, nanoseconds from the start; empty for a closed loop.
        cut_short: Whether the schedule was cut after `max_requests` measured requests.
    """
    if load.is_closed:
        return np.empty(0, np.int64), False
    # Draw no more than can be sent: a day at a million requests per second would not fit into memory.
    seconds = load.warmup + min(load.duration, (1.2 * load.max_requests + 1000) / load.rate)
    schedule = draw_schedule(
        load.arrivals,
        load.rate,
        seconds,
        random=draws.shared if load.arrivals == "gamma" else draws.own,
        part=share.index,
        parts=share.count,
        gap_cv=load.gap_cv,
    )
    last = int(np.searchsorted(schedule, load.warmup * 1e9)) + share.of(load.max_requests)
    return schedule[:last], last < len(schedule)


def _summarize(
    generator: LoadGenerator, pool: RequestPool, load: LoadLevel, begin: int, cpu: float, *, cut_short: bool
) -> tuple[LoadStatistics, float]:
    """Return the statistics and the measured seconds; `begin` is in nanoseconds, `cpu` a fraction of one core."""
    samples, measured_from = generator.samples, begin + int(load.warmup * 1e9)
    end = min(measured_from + int(load.duration * 1e9), generator.stop_at)
    if cut_short:
        # A closed loop ended with its last answer, an open loop when its last request was due.
        last = max(samples.done if load.is_closed else samples.due, default=measured_from)
        end = max(measured_from, min(end, last))
    limits = () if load.objective is None else load.objective.durations
    statistics = summarize_samples(samples, pool, begin=measured_from, end=end, limits=limits)
    statistics.cpu = [cpu]
    return statistics, (end - measured_from) / 1e9


async def _connect(channels: list[grpc.aio.Channel], address: str, timeout: float) -> None:
    try:
        await asyncio.wait_for(asyncio.gather(*(channel.channel_ready() for channel in channels)), timeout)
    except TimeoutError as error:
        raise Unavailable(f"no server answers at {address} within {timeout:g} s") from error


def _sender(channel: grpc.aio.Channel, endpoint: Endpoint) -> SendRequest:
    call: Callable[..., Awaitable[bytes]] = channel.unary_unary(_METHOD)
    if endpoint.token is None:
        return lambda payload, timeout: call(payload, timeout=timeout)
    return lambda payload, timeout: call(payload, timeout=timeout, metadata=endpoint.headers)


async def _tick(
    pipe: Connection,
    generator: LoadGenerator,
    looks: InterimCounts | None,
    counters: Any,  # noqa: ANN401 - ctypes' arrays have no public type
    share: _WorkerShare,
) -> None:
    """Ten times per second, write the generator's progress into shared memory, send looks, and stop if told to."""
    samples = generator.samples
    while True:
        counters[2 * share.index], counters[2 * share.index + 1] = len(samples.begun), len(samples.done)
        if looks is not None:
            looks.advance()
            counts = looks.take_look(time.perf_counter_ns())
            if counts is not None:
                pipe.send(counts)
        if counters[2 * share.count]:
            generator.stop_at = counters[2 * share.count]
        await asyncio.sleep(_TICK_SECONDS)
