"""`/page/live`: what models do, sampled from the server's statistics for all tabs that look.

The server is asked once a second, however many tabs look, and not at all where none does. Tabs with different
credentials have samples of their own: what one may see, another may not.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from typing import Any

from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app.exchange import Answer, Exchange
from rnnserve.web.errors import RestError
from rnnserve.web.rest.json_text import dump

__all__ = ["MOST_TABS", "LiveNumbers"]

MOST_TABS = 32
"""Tabs of the page that one process of the front keeps up to date. Beyond it: 503."""

_SECONDS = 1.0
"""Between samples."""


class LiveNumbers:
    """Samples the server, and tells every tab."""

    def __init__(self) -> None:
        self._samplers: dict[tuple[bytes, str], _Sampler] = {}

    async def stream(self, exchange: Exchange) -> Answer:
        """Give events without an end, one a sample.

        Raises:
            RestError: If as many tabs look as may, or the server does not answer, or refuses.
        """
        if sum(len(sampler.tabs) for sampler in self._samplers.values()) >= MOST_TABS:
            raise RestError(
                503, f"{MOST_TABS} pages look already: close one, and this one goes on", headers={"retry-after": "5"}
            )
        first = await _sample(exchange)
        return Answer(
            content_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
            events=self._events(exchange, first),
        )

    async def _events(self, exchange: Exchange, first: bytes) -> AsyncGenerator[bytes, None]:
        who = exchange.credentials
        sampler = self._samplers.get(who)
        if sampler is None:
            sampler = self._samplers[who] = _Sampler(exchange)
        tab: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)
        sampler.tabs.add(tab)
        try:
            yield first
            while event := await tab.get():
                yield event
        finally:
            sampler.tabs.discard(tab)
            if not sampler.tabs:
                sampler.stop()
                if self._samplers.get(who) is sampler:
                    del self._samplers[who]


class _Sampler:
    """Asks with the credentials of the tab that came first: all its tabs have the same.

    Attributes:
        tabs: Each has room for one sample: a tab that does not read misses some, and holds up no other. An
            empty one is the end.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.tabs: set[asyncio.Queue[bytes]] = set()
        self._task = asyncio.create_task(self._run(exchange))

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self, exchange: Exchange) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(exchange.ending.wait(), _SECONDS)
                self._tell(b"")
                return
            try:
                event = await _sample(exchange)
            except RestError as error:
                if error.status in (401, 403):  # its token is no more
                    self._tell(b"")
                    return
                # The server restarts, say: the page shows it, and goes on.
                event = _event({"error": str(error)})
            self._tell(event)

    def _tell(self, event: bytes) -> None:
        for tab in self.tabs:
            with contextlib.suppress(asyncio.QueueEmpty):
                tab.get_nowait()
            tab.put_nowait(event)


async def _sample(exchange: Exchange) -> bytes:
    said = await exchange.upstream.call(
        "ModelStatistics", pb.ModelStatisticsRequest(), pb.ModelStatisticsResponse, exchange.context()
    )
    return _event({"seconds": time.monotonic(), "models": [_counts(model) for model in said.model_stats]})


def _counts(model: pb.ModelStatistics) -> dict[str, Any]:
    """What has been counted since the version was loaded; times in nanoseconds, summed over requests.

    `durations` are buckets in seconds, each with its bounds, 0 for none above, and its requests.
    """
    stats = model.inference_stats
    return {
        "name": model.name,
        "version": model.version,
        "success": stats.success.count,
        "success_ns": stats.success.ns,
        "fail": stats.fail.count,
        "queue_ns": stats.queue.ns,
        "run_ns": stats.compute_infer.ns,
        "rows": model.inference_count,
        "runs": model.execution_count,
        "durations": [[bucket.lower_bound, bucket.upper_bound, bucket.count] for bucket in model.duration_buckets],
        "batches": [[batch.batch_size, batch.compute_infer.count] for batch in model.batch_stats],
    }


def _event(said: dict[str, Any]) -> bytes:
    return b"data: %s\n\n" % dump(said)
