"""The gateway asks the server about a request's access before it reads the body."""

import asyncio

from kit.gateways import FakeUpstream, ask
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.access_table import ROUTES, Need
from rnnserve.protos.protocol_words import ROUTE, ROUTE_MODEL, TOKENS
from rnnserve.web.app.access import GatewayAccess
from rnnserve.web.app.application import Application
from rnnserve.web.app.routes import all_routes
from rnnserve.web.errors import RestError

WORDS = "a valid token is needed"
REFUSED = RestError(401, WORDS, headers={"www-authenticate": "Bearer"}, is_of_server=True)
ASKS = pb.ServerMetadataResponse(name="s", extensions=[TOKENS])
INFER = "/v2/models/m/infer"
WAYS = [
    (entry.name, method, entry.path.format(model="m", version="1", region="r", repository="r", file="page.js"))
    for entry in all_routes()
    for method in (*entry.handlers, *(["HEAD"] if "GET" in entry.handlers else []))
]


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def front(answer, clock=None):
    upstream = FakeUpstream()
    upstream.answers["ServerMetadata"] = answer
    return upstream, Application(upstream, all_routes(), access=GatewayAccess(clock or Clock()))


def questions(upstream):
    return [dict(context.metadata) for method, _, context in upstream.asked if method == "ServerMetadata"]


def test_route_answers_nobody_whom_the_server_refuses():
    for name, method, path in WAYS:
        upstream, application = front(REFUSED)
        reply = ask(application, path, None, method=method, headers={"Authorization": "Bearer x"})
        if ROUTES[name] is Need.HEALTH:
            assert reply.status != 401, path  # the server decides on the one question that is put to it
        elif ROUTES[name] is Need.OPEN:
            assert reply.status in (200, 204), path
            assert not upstream.asked
        else:
            assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer"), path
            assert [method for method, *_ in upstream.asked] == ["ServerMetadata"]
            (question,) = questions(upstream)
            assert (question[ROUTE], question["authorization"]) == (name, "Bearer x")
            assert question.get(ROUTE_MODEL) == ("m" if "/models/m" in path else None)


def scope_of(method, path, *headers):
    return {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "headers": [(b"host", b"localhost"), *headers], "client": ("127.0.0.1", 1),
    }  # fmt: skip


def answer_without_body(application, scope):
    sent = []

    async def receive():
        raise AssertionError("the body is read")

    async def send(message):
        sent.append(message)

    asyncio.run(application(scope, receive, send))
    return sent[0]


def test_body_is_not_read_before_the_server_admits_the_request():
    upstream, application = front(REFUSED)
    answer = answer_without_body(application, scope_of("POST", INFER, (b"content-length", b"1000000")))
    assert answer["status"] == 401
    assert upstream.asked


def test_two_tokens_are_refused_without_a_call():
    upstream, application = front(ASKS)
    tokens = [(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")]
    assert answer_without_body(application, scope_of("GET", "/v2", *tokens))["status"] == 400
    assert not upstream.asked


def test_access_verdict_is_cached_briefly_per_token_and_route():
    clock = Clock()
    upstream, application = front(ASKS, clock)
    token, other = {"Authorization": "Bearer x"}, {"Authorization": "Bearer y"}
    for _ in range(3):
        assert ask(application, "/page/models", headers=token).status == 200
    assert len(questions(upstream)) == 1
    for path, headers in (
        ("/page/models", other),
        ("/v2/models/m", token),
        ("/v2/models/n", token),
        ("/v2/models", token),
    ):
        before = len(questions(upstream))
        ask(application, path, headers=headers)
        assert len(questions(upstream)) == before + 1
    clock.now += 1.0
    before = len(questions(upstream))
    ask(application, "/page/models", headers=token)
    assert len(questions(upstream)) == before + 1
    upstream.answers["ServerMetadata"] = REFUSED
    clock.now += 1.0
    assert ask(application, "/page/models", headers=token).status == 401


def test_unreachable_server_leaves_only_open_routes():
    gone = RestError(503, "no server responds")
    upstream, application = front(gone)
    upstream.answers["RepositoryIndex"] = gone
    for path in ("/openapi.json", "/", "/static/page.js"):
        assert ask(application, path).status == 200
    for path in ("/metrics", "/page/models", "/v2", "/v2/models"):
        assert ask(application, path).status == 503
    assert ask(application, INFER, b"{}").status == 503
