"""The HTTP gateway: serves the Open Inference Protocol's REST API in front of a gRPC server.

uvicorn reads the client's request, `app` finds the route, `rest` converts the body to a protocol message, and
`upstream` sends the message to the server over gRPC. The response takes the same path back.

The gateway runs in a separate process because parsing JSON holds Python's GIL and would stop the thread that serves
gRPC. All requests pass through the gRPC server, so there is only one core, one set of limits and one set of messages.

========== =========================================================================================================
part       contents
========== =========================================================================================================
commands   `rnnserve web`: the process, its options and its shutdown
app        the ASGI application: routes and their handlers
upstream   calls to the server
rest       pure functions: JSON and binary tensors to ModelInferRequest, ModelInferResponse to JSON
connection adapter for uvicorn's undocumented interfaces
errors     an HTTP status and its message
limits     the limits on sizes, times and counts
========== =========================================================================================================

Each part may import only the parts below it in this table (import-linter checks this). The gateway may import `client`
and `protos`, but not `server`.

Public: nothing.
"""

__all__: list[str] = []
