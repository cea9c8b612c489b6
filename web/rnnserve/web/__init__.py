"""The HTTP front: the Open Inference Protocol's REST form before a gRPC server. A process of its own.

A client's HTTP request is read and bounded (`http1`), finds its route (`app`), becomes a message of the protocol
(`rest`), and goes to the server as an ordinary gRPC call (`upstream`); the answer takes the same way back. So parsing
JSON, which takes 18 ms a MiB with Python's lock held, never stops the thread that serves gRPC, and there is one core,
one set of limits and one set of messages: what the server refuses is passed on in the server's words.

The rooms, top first; imports run downwards only (import-linter, "The rooms of the HTTP front"):

========== =========================================================================================================
room       what it does
========== =========================================================================================================
commands   `rnnserve web`
app        the ASGI application: routes, one handler a file, OpenAPI and its page
http1      uvicorn's protocol with the bounds that it lacks: deadlines, rates, sizes, connections
upstream   calls to the server, and how a gRPC status becomes an HTTP status
rest       pure functions: JSON and binary tensors to ModelInferRequest, and ModelInferResponse back; compression
errors     an HTTP status and its message
========== =========================================================================================================

New routes go into `app.routes`, and into the document of `app.openapi`: a test holds that the two agree. `/metrics` and
the page at `/` have their places there.

May import `client` and `protos`; never `server`.

Door: nothing.
"""

__all__: list[str] = []
