"""Generators in their own processes, which start each load level at the same time."""

import asyncio
import gc
import multiprocessing
import signal
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
import numpy.typing as npt

from rnnserve.client import ClientError, Unavailable
from rnnserve.client.channel import channel_options
from rnnserve.client.endpoint import Endpoint
from rnnserve.load.answer_checks import AnswerChecker
from rnnserve.load.confidence import largest_count
from rnnserve.load.draws import draw_rounds, draw_schedule
from rnnserve.load.generator import LoadGenerator, SendRequest, Status, run_precisely
from rnnserve.load.load_level import LatencyObjective, LoadLevel
from rnnserve.load.load_result import LoadResult
from rnnserve.load.statistics import LoadStatistics, summarize_samples
from rnnserve.load.units import format_duration
from rnnserve.load.workload import RequestPool, WorkloadSpec, build_pool

__all__ = ["GeneratorProcesses", "LoadTarget", "ProgressCallback"]

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_MAX_ANSWER_BYTES = 64 << 20
_ORDER_LENGTH = 1 << 14
_HEAD_START_SECONDS = 0.05
_TICK_SECONDS = 0.1
_STOP_AFTER_NS = 300_000_000
"""From the decision to end early to the time from which no request is due: generators look at it every tick."""

_MOST_LIMITS = 8
_STARTED, _ENDED, _FAILED, _OVER = 0, 1, 2, 3
_COLUMNS = _OVER + _MOST_LIMITS
"""The columns of the shared counters, one row per generator: requests that were started, have ended, have failed
through no fault of the generator, and were over each limit."""

ProgressCallback = Callable[[int, int], None]
"""Called several times per second with the number of requests that were started and that have ended."""


@dataclass(frozen=True)
class LoadTarget:
    """The server, and the number of connections that each generator opens to it."""

    endpoint: Endpoint
    connections: int = 4


@dataclass(frozen=True)
class _Share:
    """The index of a generator, and the number of generators."""

    index: int
    count: int

    def of(self, total: int) -> int:
        """Return this generator's part of a total number."""
        return total // self.count + (self.index < total % self.count)


class GeneratorProcesses:
    """Generator processes, each of which sends an equal part of each load.

    Args:
        target: The server, and the connections to it.
        spec: The requests to send.
        processes: Number of generators.
    """

    def __init__(self, target: LoadTarget, spec: WorkloadSpec, processes: int = 1) -> None:
        # Processes that use gRPC must not fork.
        context = multiprocessing.get_context("spawn")
        self._shared = context.RawArray("q", processes * _COLUMNS + 1)
        self._number = 0
        self._pipes: list[Connection] = []
        self._processes = []
        for index in range(processes):
            ours, theirs = context.Pipe()
            arguments = (theirs, target, spec, _Share(index, processes), self._shared)
            process = context.Process(
                target=_run_generator, args=arguments, daemon=True, name=f"load generator {index}"
            )
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in self._pipes:
            pipe.close()  # the generators end when they read the end of the pipe
        for process in self._processes:
            if kind is not None:
                process.terminate()
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()

    def run(self, load: LoadLevel, objective: LatencyObjective | None, report_progress: ProgressCallback) -> LoadResult:
        """Run a load level; return the sums over all generators.

        Raises:
            Unavailable: No server answers at the address.
            ClientError: A generator's process ended unexpectedly.
        """
        counters, stop_at = _views(self._shared)
        counters[:] = 0
        stop_at[0] = 0
        limits = () if objective is None or not load.ends_early else objective.limits[:_MOST_LIMITS]
        for pipe in self._pipes:
            pipe.send((load, [limit.nanoseconds for limit in limits], self._number))
        self._number += 1
        planned = sum(self._gather(lambda: None))
        begin = time.perf_counter_ns() + int(_HEAD_START_SECONDS * 1e9)
        for pipe in self._pipes:
            pipe.send(begin)
        allowed = [largest_count(planned, limit.allowed, objective.confidence) for limit in limits] if objective else []
        early_end = ""

        def look() -> None:
            nonlocal early_end
            sums = counters.sum(axis=0).tolist()
            report_progress(sums[_STARTED], sums[_ENDED])
            if early_end or not limits:
                return
            exceeded = [limit for at, limit in enumerate(limits) if sums[_OVER + at] > allowed[at]]
            above = [f"p{limit.percent:g} was above {format_duration(limit.nanoseconds)}" for limit in exceeded]
            early_end = "requests failed" if sums[_FAILED] else " and ".join(above)
            if early_end:
                stop_at[0] = time.perf_counter_ns() + _STOP_AFTER_NS

        parts: list[tuple[LoadStatistics, float]] = self._gather(look)
        statistics, seconds = LoadStatistics.merged(part for part, _ in parts), max(seconds for _, seconds in parts)
        return LoadResult(load, statistics, seconds, early_end if seconds < load.duration else "")

    def _gather(self, tick: Callable[[], None]) -> list[Any]:
        """Return one message from each generator, or raise the error that a generator sent."""
        messages: dict[Any, Any] = {}
        while len(messages) < len(self._pipes):
            waiting: list[Any] = [pipe for pipe in self._pipes if pipe not in messages]
            ready: list[Any] = wait(waiting, _TICK_SECONDS)
            for pipe in ready:
                try:
                    message = pipe.recv()
                except EOFError as error:
                    raise ClientError("a generator's process ended before its load ended") from error
                if isinstance(message, Exception):
                    raise message
                messages[pipe] = message
            tick()
        return [messages[pipe] for pipe in self._pipes]


def _views(shared: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:  # noqa: ANN401 - ctypes' arrays
    """Return the counters (generators, _COLUMNS), and the time (1,) from which no request is due, 0 for none."""
    whole = np.frombuffer(shared, np.int64)
    return whole[:-1].reshape(-1, _COLUMNS), whole[-1:]


def _run_generator(
    pipe: Connection,
    target: LoadTarget,
    spec: WorkloadSpec,
    share: _Share,
    shared: Any,  # noqa: ANN401 - ctypes' arrays have no public type
) -> None:
    """Run a generator's part of each load level that arrives on the pipe, until the pipe closes.

    For each level, receive the level, the limits that may end it early, and its number; send the number of planned
    requests when ready; receive the start time; then send the `LoadStatistics` and the measured seconds. After an
    error, send the error instead and end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    try:
        pool = build_pool(spec, share.index)
        checker = AnswerChecker(pool.checks)
        # Objects made so far live until the end: exclude them from garbage collections during the measurement.
        gc.collect()
        gc.freeze()
        while True:
            load, limits, number = pipe.recv()
            random = np.random.default_rng([spec.seed, share.index, number])
            generator = _LevelGenerator(pipe, target, pool, checker, share, shared)
            pipe.send(run_precisely(generator.measure(load, limits, random)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except ClientError as error:
        pipe.send(error)
    except Exception:  # noqa: BLE001 - the parent process raises it, with this traceback
        pipe.send(RuntimeError(f"a generator failed:\n{traceback.format_exc()}"))


@dataclass(frozen=True)
class _LevelGenerator:
    """One generator's part of one load level."""

    pipe: Connection
    target: LoadTarget
    pool: RequestPool
    checker: AnswerChecker
    share: _Share
    shared: Any

    async def measure(
        self, load: LoadLevel, limits: list[int], random: np.random.Generator
    ) -> tuple[LoadStatistics, float]:
        """Run it; return its statistics and the measured seconds."""
        endpoint = self.target.endpoint
        options = [*channel_options(_MAX_ANSWER_BYTES), ("grpc.use_local_subchannel_pool", 1)]
        channels = [endpoint.open_async_channel(options) for _ in range(self.target.connections)]
        try:
            await _connect(channels, endpoint.address, load.timeout)
            order = draw_rounds(len(self.pool.payloads), _ORDER_LENGTH, random)
            senders = [_sender(channel, endpoint) for channel in channels]
            generator = LoadGenerator(self.pool, senders, order, load.timeout, checker=self.checker)
            most = self.share.of(load.max_requests)
            schedule, cut_short = (np.empty(0, np.int64), False) if load.is_closed else self._draw(load, most, random)
            self.pipe.send(int((schedule >= load.warmup * 1e9).sum()))
            begin: int = self.pipe.recv()
            measure_from = begin + int(load.warmup * 1e9)
            end = measure_from + int(load.duration * 1e9)
            ticker = asyncio.create_task(self._tick(generator, limits, measure_from))
            cpu_start, start = time.process_time_ns(), time.perf_counter_ns()
            if load.sessions:
                cut_short = await generator.session_loop(
                    begin,
                    measure_from=measure_from,
                    end=end,
                    sessions=self.share.of(load.sessions),
                    think=int(load.think * 1e9),
                    max_requests=most,
                )
            elif load.closed:
                cut_short = await generator.closed_loop(
                    begin, measure_from=measure_from, end=end, workers=self.share.of(load.closed), max_requests=most
                )
            else:
                await generator.open_loop(begin, schedule)
            cpu = (time.process_time_ns() - cpu_start) / max(1, time.perf_counter_ns() - start)
            ticker.cancel()
        finally:
            for channel in channels:
                await channel.close()
        end = min(end, generator.stop_at)
        if cut_short:
            # A closed loop ended with its last answer, an open loop when its last request was due.
            last = int(generator.samples.table()[2 if load.is_closed else 0].max(initial=measure_from))
            end = max(measure_from, min(end, last))
        statistics = summarize_samples(generator.samples, self.pool, begin=measure_from, end=end)
        statistics.cpu = [cpu]
        return statistics, (end - measure_from) / 1e9

    def _draw(self, load: LoadLevel, most: int, random: np.random.Generator) -> tuple[npt.NDArray[np.int64], bool]:
        """Draw this generator's part of an open loop's schedule; return it, and whether it was cut after `most`."""
        # Draw no more than can be sent: a day at a million requests per second would not fit into memory.
        seconds = load.warmup + min(load.duration, (1.2 * load.max_requests + 1000) / load.rate)
        schedule = draw_schedule(
            load.arrivals, load.rate, seconds, random=random, part=self.share.index, parts=self.share.count
        )
        last = int(np.searchsorted(schedule, load.warmup * 1e9)) + most
        return schedule[:last], last < len(schedule)

    async def _tick(self, generator: LoadGenerator, limits: list[int], measure_from: int) -> None:
        """Ten times per second, write the generator's counts into shared memory, and stop if told to."""
        counters, stop_at = _views(self.shared)
        mine, samples, counted = counters[self.share.index], generator.samples, 0
        while True:
            due, sent, done, _, status, _ = samples.table(counted)
            counted += len(due)
            mine[_STARTED], mine[_ENDED] = samples.started, counted
            if limits:
                measured = due >= measure_from
                may_be_late = np.isin(status, (Status.OK, Status.DEADLINE_EXCEEDED))
                mine[_FAILED] += int((measured & ~may_be_late & (status != Status.NOT_SENT)).sum())
                for at, limit in enumerate(limits):
                    # From the actual send: a late generator is no reason to end.
                    mine[_OVER + at] += int((measured & may_be_late & (done - sent > limit)).sum())
            if stop_at[0]:
                generator.stop_at = int(stop_at[0])
            await asyncio.sleep(_TICK_SECONDS)


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
