"""Runs generators in their own processes, which start each load level at the same time."""

import asyncio
import gc
import multiprocessing
import signal
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, NamedTuple, Self, cast

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
from rnnserve.load.load_level import LatencyLimit, LatencyObjective, LoadLevel
from rnnserve.load.load_result import LoadResult
from rnnserve.load.statistics import LoadStatistics, summarize_samples
from rnnserve.load.units import format_duration
from rnnserve.load.workload import RequestPool, WorkloadSpec, build_pool

__all__ = ["GeneratorProcesses", "LoadTarget"]

_METHOD = "/inference.GRPCInferenceService/ModelInfer"
_MAX_ANSWER_BYTES = 64 << 20
_ORDER_LENGTH = 1 << 14
_HEAD_START_SECONDS = 0.05
_TICK_SECONDS = 0.1
_STOP_AFTER_NS = 300_000_000
"""From the decision to end early until the last request, so that all generators stop at the same time."""


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


class _Counts(NamedTuple):
    """Requests of one generator: started, ended, failed for reasons other than the generator, and over each limit."""

    started: int = 0
    ended: int = 0
    failed: int = 0
    over: tuple[int, ...] = ()


class GeneratorProcesses:
    """Generator processes, each of which sends an equal part of each load.

    For each level, a process receives the level over its pipe, with the limits that may end it early. It sends the
    number of planned requests when it is ready, and receives the start time. Ten times per second it sends its counts,
    and at the end its statistics with the measured seconds. It may receive a time to stop. After an error, it sends the
    error and ends.
    """

    def __init__(self, target: LoadTarget, spec: WorkloadSpec, processes: int = 1) -> None:
        # Processes that use gRPC must not fork.
        context = multiprocessing.get_context("spawn")
        self._number = 0
        self._pipes: list[Connection] = []
        self._processes = []
        for index in range(processes):
            ours, theirs = context.Pipe()
            arguments = (theirs, target, spec, _Share(index, processes))
            name = f"load generator {index}"
            process = context.Process(target=_run_generator, args=arguments, daemon=True, name=name)
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
            pipe.close()  # a generator ends when it reads the end of its pipe
        for process in self._processes:
            if kind is not None:
                process.terminate()
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()

    def run(
        self, load: LoadLevel, objective: LatencyObjective | None, report_progress: Callable[[int, int], None]
    ) -> LoadResult:
        """Run a load level. Returns the sums over all generators.

        `report_progress` is called with the numbers of requests that have started and ended.
        """
        limits = () if objective is None or not load.ends_early else objective.limits
        self._send((load, [limit.nanoseconds for limit in limits], self._number))
        self._number += 1
        planned = sum(self._gather(lambda _: None))
        self._send(time.perf_counter_ns() + int(_HEAD_START_SECONDS * 1e9))
        allowed = [largest_count(planned, limit.allowed, objective.confidence) for limit in limits] if objective else []
        early_end = ""

        def look(counts: Sequence[_Counts]) -> None:
            nonlocal early_end
            report_progress(sum(each.started for each in counts), sum(each.ended for each in counts))
            if limits and not early_end:
                early_end = _why_missed(counts, limits, allowed)
                if early_end:
                    self._send(time.perf_counter_ns() + _STOP_AFTER_NS)

        parts: list[tuple[LoadStatistics, float]] = self._gather(look)
        statistics, seconds = LoadStatistics.merged(part for part, _ in parts), max(seconds for _, seconds in parts)
        return LoadResult(load, statistics, seconds, early_end if seconds < load.duration else "")

    def _send(self, message: object) -> None:
        for pipe in self._pipes:
            pipe.send(message)

    def _gather(self, look: Callable[[Sequence[_Counts]], None]) -> list[Any]:
        """Return one message from each generator, and pass counts to `look` meanwhile. Raises a generator's error."""
        messages: dict[Any, Any] = {}
        counts = dict.fromkeys(self._pipes, _Counts())
        while len(messages) < len(self._pipes):
            for pipe in wait([pipe for pipe in self._pipes if pipe not in messages]):
                try:
                    message = cast("Connection", pipe).recv()
                except EOFError as error:
                    raise ClientError(
                        "the process of a load generator ended early; was it killed, or out of memory?"
                    ) from error
                if isinstance(message, Exception):
                    raise message
                if isinstance(message, _Counts):
                    counts[cast("Connection", pipe)] = message
                    look(list(counts.values()))
                else:
                    messages[pipe] = message
        return [messages[pipe] for pipe in self._pipes]


def _why_missed(counts: Sequence[_Counts], limits: Sequence[LatencyLimit], allowed: Sequence[int]) -> str:
    """Return why a load can no longer meet its objective, or an empty text if it still can."""
    if any(each.failed for each in counts):
        return "requests failed"
    over = [sum(numbers) for numbers in zip(*(each.over for each in counts if each.over), strict=True)]
    exceeded = [limit for limit, count, most in zip(limits, over, allowed, strict=False) if count > most]
    return " and ".join(f"p{limit.percent:g} was above {format_duration(limit.nanoseconds)}" for limit in exceeded)


def _run_generator(pipe: Connection, target: LoadTarget, spec: WorkloadSpec, share: _Share) -> None:
    """Run a generator's part of each load level that arrives on the pipe, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    try:
        pool = build_pool(spec, share.index)
        checker = AnswerChecker(pool.checks)
        # Present objects live until the end, so exclude them from garbage collections during the measurement.
        gc.collect()
        gc.freeze()
        while True:
            message = pipe.recv()
            if isinstance(message, int):  # a time to stop, which arrived after the end
                continue
            load, limits, number = message
            random = np.random.default_rng([spec.seed, share.index, number])
            measured = _measure(pipe, target, pool, checker, load, limits, share, random)
            pipe.send(run_precisely(measured))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except ClientError as error:
        pipe.send(error)
    except Exception:  # noqa: BLE001 - the parent process raises it, with this traceback
        pipe.send(RuntimeError(f"a load generator failed:\n{traceback.format_exc()}"))


async def _measure(
    pipe: Connection,
    target: LoadTarget,
    pool: RequestPool,
    checker: AnswerChecker,
    load: LoadLevel,
    limits: Sequence[int],
    share: _Share,
    random: np.random.Generator,
) -> tuple[LoadStatistics, float]:
    """Run a generator's part of one load level. Returns its statistics and the measured seconds."""
    options = [*channel_options(_MAX_ANSWER_BYTES), ("grpc.use_local_subchannel_pool", 1)]
    channels = [target.endpoint.open_async_channel(options) for _ in range(target.connections)]
    most = share.of(load.max_requests)
    try:
        await _connect(channels, target.endpoint.address, load.timeout)
        order = draw_rounds(len(pool.payloads), _ORDER_LENGTH, random)
        senders = [_sender(channel, target.endpoint) for channel in channels]
        generator = LoadGenerator(pool, senders, order, load.timeout, checker=checker)
        schedule, cut_short = (np.empty(0, np.int64), False) if load.is_closed else _draw(load, most, share, random)
        pipe.send(int((schedule >= load.warmup * 1e9).sum()))
        begin: int = pipe.recv()
        measure_from = begin + int(load.warmup * 1e9)
        end = measure_from + int(load.duration * 1e9)
        ticker = asyncio.create_task(_tick(pipe, generator, limits, measure_from))
        cpu_start, start = time.process_time_ns(), time.perf_counter_ns()
        limited = {"measure_from": measure_from, "end": end, "max_requests": most}
        if load.sessions:
            sessions, think = share.of(load.sessions), int(load.think * 1e9)
            cut_short = await generator.session_loop(begin, sessions=sessions, think=think, **limited)
        elif load.closed:
            cut_short = await generator.closed_loop(begin, workers=share.of(load.closed), **limited)
        else:
            await generator.open_loop(begin, schedule)
        cpu = (time.process_time_ns() - cpu_start) / max(1, time.perf_counter_ns() - start)
        ticker.cancel()
    finally:
        for channel in channels:
            await channel.close()
    end = min(end, generator.stop_at)
    if cut_short:
        # A closed loop ends with its last answer, but an open loop when its last request is due.
        last = int(generator.samples.table()[2 if load.is_closed else 0].max(initial=measure_from))
        end = max(measure_from, min(end, last))
    statistics = summarize_samples(generator.samples, pool, begin=measure_from, end=end)
    statistics.cpu = [cpu]
    return statistics, (end - measure_from) / 1e9


def _draw(load: LoadLevel, most: int, share: _Share, random: np.random.Generator) -> tuple[npt.NDArray[np.int64], bool]:
    """Draw a generator's part of an open loop's schedule. Also returns whether it was cut after `most` requests."""
    # Draw no more than can be sent: the schedule of a day at a million requests per second would not fit into memory.
    seconds = load.warmup + min(load.duration, (1.2 * load.max_requests + 1000) / load.rate)
    schedule = draw_schedule(load.arrivals, load.rate, seconds, random=random, part=share.index, parts=share.count)
    last = int(np.searchsorted(schedule, load.warmup * 1e9)) + most
    return schedule[:last], last < len(schedule)


async def _tick(pipe: Connection, generator: LoadGenerator, limits: Sequence[int], measure_from: int) -> None:
    """Ten times per second, send the generator's counts and check for a time to stop."""
    counted = failed = 0
    over = np.zeros(len(limits), np.int64)
    while True:
        due, sent, done, _, status, _ = generator.samples.table(counted)
        counted += len(due)
        measured, is_timed = due >= measure_from, np.isin(status, (Status.OK, Status.DEADLINE_EXCEEDED))
        failed += int((measured & ~is_timed & (status != Status.NOT_SENT)).sum())
        # Measure from the actual send, because a late generator is not a reason to end.
        over += [int((measured & is_timed & (done - sent > limit)).sum()) for limit in limits]
        pipe.send(_Counts(generator.samples.started, counted, failed, tuple(over.tolist())))
        if pipe.poll():
            generator.stop_at = pipe.recv()
        await asyncio.sleep(_TICK_SECONDS)


async def _connect(channels: list[grpc.aio.Channel], address: str, timeout: float) -> None:
    try:
        await asyncio.wait_for(asyncio.gather(*(channel.channel_ready() for channel in channels)), timeout)
    except TimeoutError as error:
        raise Unavailable(f"no server responded at {address} within {timeout:g} s") from error


def _sender(channel: grpc.aio.Channel, endpoint: Endpoint) -> SendRequest:
    call: Callable[..., Awaitable[bytes]] = channel.unary_unary(_METHOD)
    if endpoint.token is None:
        return lambda payload, timeout: call(payload, timeout=timeout)
    return lambda payload, timeout: call(payload, timeout=timeout, metadata=endpoint.headers)
