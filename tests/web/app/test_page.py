"""The page at `/`: its routes, its headers, its files, and the numbers that it lives on; without a browser."""

import asyncio
import json
import re

import grpc
import pytest

from kit.fronts import FakeUpstream, ask, metadata_of
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app.application import Application, FrontLimits
from rnnserve.web.app.bodies import BodyReader
from rnnserve.web.app.exchange import Exchange
from rnnserve.web.app.live_numbers import MOST_TABS, LiveNumbers
from rnnserve.web.app.site import site_routes
from rnnserve.web.app.static_files import CONTENT_SECURITY_POLICY
from rnnserve.web.errors import RestError
from rnnserve.web.upstream.statuses import error_of_status

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


@pytest.fixture
def upstream():
    made = FakeUpstream()
    index = pb.RepositoryIndexResponse()
    index.models.add(name="m", version="1", state="READY")
    index.models.add(name="broken", version="2", state="UNAVAILABLE", reason="model.onnx is missing")
    made.answers["RepositoryIndex"] = index
    said = pb.ModelStatisticsResponse()
    model = said.model_stats.add(name="m", version="1", inference_count=6, execution_count=2)
    model.duration_buckets.add(upper_bound=5e-5, count=1)
    model.duration_buckets.add(lower_bound=10.0, count=2)
    model.inference_stats.success.count, model.inference_stats.success.ns = 3, 900
    model.inference_stats.queue.ns, model.inference_stats.compute_infer.ns = 200, 500
    model.batch_stats.add(batch_size=3).compute_infer.count = 2
    made.answers["ModelStatistics"] = said
    return made


def test_the_page_has_a_strict_policy_and_nothing_inline(upstream):
    reply = ask(upstream, "/")
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert reply.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert dict(part.split(" ", 1) for part in CONTENT_SECURITY_POLICY.split("; ")) == POLICY
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", reply.body.decode())
    assert re.findall(r"<script[^>]*>(.*?)</script>", reply.body.decode(), re.DOTALL) == [""]


def test_every_file_that_pages_name_is_served_and_comes_from_here(upstream):
    """From the page on, whatever is linked, loaded or imported."""
    seen, left = set(), ["/"]
    while left:
        path = left.pop()
        seen.add(path)
        reply = ask(upstream, path)
        assert reply.status == 200, path
        assert reply.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        addresses = re.findall(r"https?://[^\s\"'`]+", reply.body.decode())
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, path  # the name of a namespace, which nothing loads
        named = re.findall(r'(?:src|href)="(/static/[^"]+)"', reply.body.decode())
        named += [f"/static/{name}" for name in re.findall(r'from "\./([^"]+)"', reply.body.decode())]
        left += set(named) - seen - set(left)
    assert {"/static/page.js", "/static/walk_asker.js", "/static/page.css"} <= seen
    kinds = {path: ask(upstream, path).headers["content-type"] for path in seen if path.endswith(".js")}
    assert set(kinds.values()) == {"text/javascript; charset=utf-8"}  # a module of another type is not run


@pytest.mark.parametrize("name", ["nothing.js", "__init__.py", "application.py", "static"])
def test_no_other_file_is_served(upstream, name):
    assert ask(upstream, f"/static/{name}").status == 404


def test_models_come_with_a_request_that_they_take_and_others_with_the_reason(upstream):
    expected = ask(upstream, "/v2/models/m").json
    said = ask(upstream, "/page/models").json
    (model,) = said["models"]
    assert model["metadata"] == expected
    assert ask(upstream, "/v2/models/m/infer", json.dumps(model["example"]).encode()).status == 200
    assert said["not_serving"] == [
        {"name": "broken", "version": "2", "state": "UNAVAILABLE", "reason": "model.onnx is missing"}
    ]


def test_a_server_that_asks_for_a_token_is_told_from_one_that_is_away(upstream):
    for status, expected in ((grpc.StatusCode.UNAUTHENTICATED, 401), (grpc.StatusCode.UNAVAILABLE, 503)):
        upstream.answers["RepositoryIndex"] = error_of_status(status, "no")
        assert ask(upstream, "/page/models").status == expected


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


def test_tabs_are_capped_and_a_tab_that_closes_makes_room(upstream):
    async def run():
        live = LiveNumbers()
        tabs = [(await live.stream(exchange_of(upstream))).events for _ in range(MOST_TABS)]
        for tab in tabs:
            await anext(tab)
        with pytest.raises(RestError, match="32 pages look already") as refused:
            await live.stream(exchange_of(upstream))
        assert refused.value.status == 503
        await tabs[0].aclose()
        await live.stream(exchange_of(upstream))
        for tab in tabs[1:]:
            await tab.aclose()

    asyncio.run(run())


def test_tabs_with_other_credentials_have_samples_of_their_own(upstream, monkeypatch):
    monkeypatch.setattr("rnnserve.web.app.live_numbers._SECONDS", 0.001)

    async def run():
        live = LiveNumbers()
        tabs = [(await live.stream(exchange_of(upstream, authorization=f"Bearer {who}"))).events for who in "ab"]
        for tab in tabs:
            await anext(tab)
            await anext(tab)
            await tab.aclose()

    asyncio.run(run())
    sent = {dict(context.metadata).get("authorization") for method, _, context in upstream.asked if method == "ModelStatistics"}  # fmt: skip # noqa: E501
    assert sent == {"Bearer a", "Bearer b"}


def test_a_server_that_goes_is_told_and_asked_again(upstream, monkeypatch):
    monkeypatch.setattr("rnnserve.web.app.live_numbers._SECONDS", 0.001)

    async def run():
        tab = (await LiveNumbers().stream(exchange_of(upstream))).events
        await anext(tab)
        said = upstream.answers["ModelStatistics"]
        upstream.answers["ModelStatistics"] = error_of_status(grpc.StatusCode.UNAVAILABLE, "gone")
        while "error" not in read(await anext(tab)):
            pass
        upstream.answers["ModelStatistics"] = said
        while "models" not in read(await anext(tab)):
            pass
        await tab.aclose()

    asyncio.run(run())


def test_streams_end_with_the_front(upstream):
    async def run():
        ending = asyncio.Event()
        tab = (await LiveNumbers().stream(exchange_of(upstream, ending))).events
        await anext(tab)
        ending.set()
        async with asyncio.timeout(10):
            async for _ in tab:
                pass

    asyncio.run(run())


def status_of(upstream, host, server=("127.0.0.1", 8000), path="/", hosts=frozenset()):
    application = Application(upstream, site_routes(), FrontLimits(hosts=hosts))
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": [(b"host", host.encode())], "server": server}  # fmt: skip # noqa: E501
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(application(scope, None, send))
    return sent[0]["status"]


@pytest.mark.parametrize(
    "host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "a.localhost", "gpu-box", "192.168.0.7", "LOCALHOST"]
)
def test_own_names_are_answered(upstream, host):
    assert status_of(upstream, host) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "[::1.", "a" * 400],
)
@pytest.mark.parametrize("path", ["/", "/page/models", "/v2/models/m", "/static/page.js"])
def test_a_page_whose_name_was_made_to_mean_this_machine_reads_nothing(upstream, host, path):
    assert status_of(upstream, host, path=path) == 403


def test_names_that_a_proxy_passes_on_are_allowed_where_told_and_others_at_other_addresses(upstream):
    assert status_of(upstream, "models.example", hosts=frozenset({"models.example"})) == 200
    assert status_of(upstream, "other.example", hosts=frozenset({"models.example"})) == 403
    assert status_of(upstream, "models.example", server=("10.0.0.5", 8000)) == 200
    assert status_of(upstream, "evil.example", server=("::1", 8000)) == 403


def test_a_page_of_another_site_loads_and_unloads_nothing(upstream):
    for path in ("/v2/repository/models/m/unload", "/v2/repository/models/m/load"):
        assert ask(upstream, path, b"", headers={"origin": "http://evil.example"}).status == 403
        assert ask(upstream, path, b"", headers={"origin": "http://localhost"}).status == 200
    assert sum(method.startswith("RepositoryModel") for method, *_ in upstream.asked) == 2


def test_a_model_that_has_stopped_serving_meanwhile_is_left_out(upstream):
    upstream.answers["ModelMetadata"] = error_of_status(grpc.StatusCode.NOT_FOUND, "gone")
    assert ask(upstream, "/page/models").json["models"] == []
    upstream.answers["ModelMetadata"] = metadata_of()
    assert len(ask(upstream, "/page/models").json["models"]) == 1
