"""The HTTP gateway: the Open Inference Protocol's REST form before a gRPC server. A process of its own.

uvicorn reads a client's request, `app` finds its route, `rest` makes a message of the protocol of it, and `upstream`
calls the server with it, over gRPC; the answer takes the same way back. So parsing JSON, with Python's lock held, never
stops the thread that serves gRPC, and there is one core, one set of limits and one set of messages.

========== =========================================================================================================
room       what it does
========== =========================================================================================================
commands   `rnnserve web`: the process, its options, its end
app        the ASGI application: routes and their handlers
upstream   calls to the server
rest       pure functions: JSON and binary tensors to ModelInferRequest, and ModelInferResponse back; compression
connection what the gateway needs of uvicorn beyond its documented interface
errors     an HTTP status and its message
limits     bounds
========== =========================================================================================================

Imports run downwards only (import-linter). May import `client` and `protos`; never `server`.

Door: nothing.
"""

__all__: list[str] = []
