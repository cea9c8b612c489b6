"""Inference requests that are answered at once, by callbacks: what `http1.direct_protocol` is given to answer.

These are requests as clients send most of them: small, not compressed, of a head that asks for nothing but this. What
is read and written is by the same functions as on the general way, and every answer has the same bytes
(`tests/full/web/test_ways.py`). A request that is wrong goes the general way, which says so.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.protocol_words import AUTHORIZATION, REQUEST_ID
from rnnserve.web.app.access import FrontAccess
from rnnserve.web.app.bodies import BodyReader, read_header_length
from rnnserve.web.app.edge import check_host, defect_of, error_answer, request_id_of
from rnnserve.web.app.exchange import Answer, forwarded_headers, name_of_peer, said_of_client
from rnnserve.web.app.infer import ANSWERED, written_answer
from rnnserve.web.app.large_answers import LARGE_ANSWER
from rnnserve.web.app.request_log import RequestLog, RequestWords
from rnnserve.web.errors import RestError
from rnnserve.web.http1.direct_protocol import DirectReply
from rnnserve.web.http1.known_heads import RequestHead
from rnnserve.web.rest.compression import choose_coding, compress
from rnnserve.web.rest.infer_request import AnswerForm
from rnnserve.web.rest.infer_response import write_infer_response
from rnnserve.web.rest.known_requests import KnownRequests
from rnnserve.web.upstream.exchange_stream import NotTaken
from rnnserve.web.upstream.upstream import CallContext, SharedStream, Upstream

__all__ = ["DirectInfer", "InferPlan"]

_PATH = re.compile(rb"/v2/models/([A-Za-z0-9_-][A-Za-z0-9_.-]*)(?:/versions/([A-Za-z0-9_-][A-Za-z0-9_.-]*))?/infer")
"""The routes "infer", of names that stand for themselves."""


_ROUTE = "/v2/models/{model}/infer"

_JSON_FIELDS = b"content-type: application/json\r\nx-request-id: %s\r\ncontent-length: %d\r\n"


@dataclasses.dataclass(frozen=True, slots=True)
class InferPlan:
    """What a head asks for.

    Attributes:
        model: Name of the model.
        version: Version of it; empty for any.
        header_length: Bytes of the body that are JSON; None for all.
        coding: How an answer that is large enough is compressed; empty for not at all.
        request_id: The client's; empty where each request gets one.
        forwarded: Headers that the server is to see.
    """

    model: str
    version: str
    header_length: int | None
    coding: str
    request_id: str
    forwarded: tuple[tuple[str, str], ...]


class DirectInfer:
    """Implements `DirectRoute`."""

    method = b"POST"

    def __init__(
        self,
        upstream: Upstream,
        bodies: BodyReader,
        hosts: Collection[str],
        timeout: float,
        log: RequestLog,
        *,
        is_traced: bool,
        access: FrontAccess | None = None,
    ) -> None:
        """Prepare.

        Args:
            upstream: The server.
            bodies: Bound of the bodies in hand.
            hosts: Names that are the front's own.
            timeout: Seconds that a request may take at the server.
            log: Log of requests.
            is_traced: Whether requests have spans: then all go the general way, which makes them.
            access: Questions that the server has been asked about clients; None where all may ask. Where there was
                none, a request goes the general way, on which it is.
        """
        self._access = access
        self._log = log
        self._is_traced = is_traced
        self._upstream = upstream
        self._bodies = bodies
        self._hosts = hosts
        self._timeout = timeout
        self._requests = KnownRequests()

    def plan(self, head: RequestHead) -> InferPlan | None:
        """Say what a head asks for; None where it takes the general way to say it."""
        path = _PATH.fullmatch(head.path)
        if path is None or self._is_traced:
            return None
        fields = head.fields
        try:
            check_host(fields, head.server, self._hosts)
            length = read_header_length(fields, [])
            forwarded = tuple(forwarded_headers(fields))
        except RestError:
            return None
        if length == 0 or (length is None and b"octet-stream" in fields.get(b"content-type", b"").lower()):
            return None  # the bytes of a model's one input
        model, version = path.groups(b"")
        coding = choose_coding(fields.get(b"accept-encoding", b"").decode("latin-1"))
        request_id = request_id_of(fields) if b"x-request-id" in fields else ""
        return InferPlan(model.decode(), version.decode(), length, coding, request_id, forwarded)

    def begin(self, plan: InferPlan, body: bytes, reply: DirectReply) -> "_Call | None":
        """Begin to answer; None where the request is to go the general way."""
        if self._access is not None and not self._access.has_let_in(
            "infer", plan.model, (dict(plan.forwarded).get(AUTHORIZATION, "").encode(), reply.certificate)
        ):
            return None
        try:
            payload, form = self._requests.read(body, plan.header_length, plan.model, plan.version)
        except Exception:  # noqa: BLE001 - RestError, or a defect: the general way meets it again, and tells it
            return None
        request_id = plan.request_id or request_id_of({})
        metadata = [(REQUEST_ID, request_id), *plan.forwarded]
        if self._upstream.trusts_peer and reply.client is not None:
            metadata += said_of_client(name_of_peer(reply.client), reply.certificate)
        context = CallContext(tuple(metadata), self._timeout, bool(plan.forwarded or reply.certificate))
        stream = self._upstream.stream_for(context, len(payload))
        if stream is None or not self._bodies.take(len(body)):
            return None
        call = _Call(self._bodies, len(body), stream, reply, form, plan, request_id, self._log)
        call.number = stream.send(payload, context, call)
        return call


class _Call:
    """A request that the server is answering."""

    __slots__ = ("_bodies", "_form", "_log", "_plan", "_reply", "_request_id", "_size", "_stream", "number")

    def __init__(
        self,
        bodies: BodyReader,
        size: int,
        stream: SharedStream,
        reply: DirectReply,
        form: AnswerForm,
        plan: InferPlan,
        request_id: str,
        log: RequestLog,
    ) -> None:
        self._log = log
        self._bodies = bodies
        self._size = size
        self._stream = stream
        self._reply = reply
        self._form = form
        self._plan = plan
        self._request_id = request_id
        self.number = 0

    def cancel(self) -> None:
        """Note that the client has gone: there is to be no answer."""
        self._stream.cancel(self.number)
        self._let_go()

    def answered(self, response: bytes) -> None:
        """Write the server's answer."""
        request_id = self._request_id
        if len(response) >= LARGE_ANSWER:
            self._fall_back({ANSWERED: response})
            return
        try:
            text, size = write_infer_response(pb.ModelInferResponse.FromString(response), self._form, request_id)
        except Exception as error:  # noqa: BLE001 - a defect is told by its id, and leaves the front as it was
            self._refuse(error)
        else:
            if self._plan.coding and len(text) >= LARGE_ANSWER:
                self._fall_back({ANSWERED: response})
                return
            if size is not None or self._plan.coding:
                self._write(written_answer(text, size))
                return
            self._let_go()  # what `_write` does, without the objects in between: 4 microseconds less
            self._reply.reply(200, _JSON_FIELDS % (request_id.encode(), len(text)), text)

    def failed(self, error: Exception) -> None:
        """Write what the server says, or ask it on the general way, where it has not taken the request."""
        if isinstance(error, NotTaken):
            self._fall_back({})
        else:
            self._refuse(error)

    def _fall_back(self, known: Mapping[str, object]) -> None:
        self._let_go()
        self._reply.fall_back({"rnnserve.id": self._request_id, **known})

    def _refuse(self, error: Exception) -> None:
        """Tell of a refusal or a defect, and write it."""
        refused = error if isinstance(error, RestError) else defect_of(self._request_id, error)
        traceparent = dict(self._plan.forwarded).get("traceparent", "")
        words = RequestWords(self._request_id, "POST", _ROUTE, self._reply.client, traceparent)
        self._log.refused(refused, words)
        self._write(error_answer(refused, self._request_id))

    def _write(self, answer: Answer) -> None:
        self._let_go()
        body = answer.body
        fields = answer.fields(self._request_id)
        if self._plan.coding and answer.status == 200 and (compressed := compress(body, self._plan.coding)) is not None:
            body = compressed
            fields.append((b"content-encoding", self._plan.coding.encode()))
        text = b"".join([b"%s: %s\r\n" % field for field in fields])
        self._reply.reply(answer.status, b"%scontent-length: %d\r\n" % (text, len(body)), body)

    def _let_go(self) -> None:
        self._bodies.give_back(self._size)
        self._size = 0
