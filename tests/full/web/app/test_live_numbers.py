"""The numbers that the page lives on: one sampler for all of its tabs."""

import asyncio
import json

import pytest

from kit.fronts import FakeUpstream
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app.bodies import BodyReader
from rnnserve.web.app.exchange import Exchange
from rnnserve.web.app.live_numbers import LiveNumbers


@pytest.fixture
def upstream():
    made = FakeUpstream()
    said = pb.ModelStatisticsResponse()
    model = said.model_stats.add(name="m", version="1", inference_count=6, execution_count=2)
    model.duration_buckets.add(upper_bound=5e-5, count=1)
    model.duration_buckets.add(lower_bound=10.0, count=2)
    model.inference_stats.success.count, model.inference_stats.success.ns = 3, 900
    model.inference_stats.queue.ns, model.inference_stats.compute_infer.ns = 200, 500
    model.batch_stats.add(batch_size=3).compute_infer.count = 2
    made.answers["ModelStatistics"] = said
    return made


def exchange_of(upstream, ending=None, **headers):
    scope = {
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "path_params": {},
        "rnnserve.ending": ending or asyncio.Event(),
    }
    return Exchange(scope, None, "id", upstream, BodyReader(1, 1), 5.0)


def asked(upstream):
    return sum(method == "ModelStatistics" for method, *_ in upstream.asked)


def read(event):
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    return json.loads(event[6:])


def test_all_tabs_share_a_sampler_which_ends_with_the_last(upstream, monkeypatch):
    monkeypatch.setattr("rnnserve.web.app.live_numbers._SECONDS", 0.001)

    async def run():
        live = LiveNumbers()
        tabs = [(await live.stream(exchange_of(upstream))).events for _ in range(5)]
        firsts = [read(await anext(tab)) for tab in tabs]
        assert asked(upstream) == 5
        again = [read(await anext(tab)) for tab in tabs]
        assert len({said["seconds"] for said in again[1:]}) == 1  # one sample for those that wait for it
        for tab in tabs:
            await tab.aclose()
        await asyncio.sleep(0.01)
        counted = asked(upstream)
        await asyncio.sleep(0.02)
        assert asked(upstream) == counted
        return firsts[0]

    (model,) = asyncio.run(run())["models"]
    assert model == {
        "name": "m",
        "version": "1",
        "success": 3,
        "success_ns": 900,
        "fail": 0,
        "queue_ns": 200,
        "run_ns": 500,
        "rows": 6,
        "runs": 2,
        "durations": [[0.0, 5e-5, 1], [10.0, 0.0, 2]],
        "batches": [[3, 2]],
    }
