"""Answers with large tensors in JSON are written and sent piece by piece.

JSON takes three to six times the bytes of its tensors, and a client that reads slowly would have all of it kept.
"""

from collections.abc import AsyncGenerator, Iterator

from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app.exchange import Answer, Exchange
from rnnserve.web.app.large_bodies import beside_loop
from rnnserve.web.rest.compression import Deflater, choose_coding
from rnnserve.web.rest.infer_request import AnswerForm
from rnnserve.web.rest.infer_response import infer_response_pieces

__all__ = ["LARGE_ANSWER", "large_answer"]

LARGE_ANSWER = 1 << 20
"""Bytes of tensors from which on an answer is large."""


def large_answer(exchange: Exchange, response: pb.ModelInferResponse, form: AnswerForm) -> Answer | None:
    """Make the answer; None where it has to be made as a whole: what follows the JSON has its size in a header.

    Args:
        exchange: Request that is answered.
        response: Answer of the server.
        form: Form of the answer.

    Raises:
        RestError: If an output has no form in JSON.
    """
    is_binary = any(form.is_binary(tensor.name) for tensor in response.outputs)
    if is_binary or exchange.scope.get("http_version") == "1.0":  # which has no chunks
        return None
    pieces = infer_response_pieces(response, exchange.request_id)
    coding = choose_coding(exchange.headers.get(b"accept-encoding", b"").decode("latin-1"))
    return Answer(events=_events(pieces, coding), headers={"content-encoding": coding} if coding else {})


async def _events(pieces: Iterator[bytes], coding: str) -> AsyncGenerator[bytes, None]:
    deflater = Deflater(coding) if coding else None
    while True:
        piece = await beside_loop(LARGE_ANSWER, _next, pieces, deflater)
        if piece is None:
            break
        if piece:
            yield piece
    if deflater is not None:
        yield deflater.end()


def _next(pieces: Iterator[bytes], deflater: Deflater | None) -> bytes | None:
    piece = next(pieces, None)
    return piece if piece is None or deflater is None else deflater.feed(piece)
