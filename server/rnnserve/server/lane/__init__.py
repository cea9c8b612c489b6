"""The lane: ModelInfer and ModelStreamInfer on a completion queue of its own, on one thread, the fast way.

In: calls and streams as grpcio's core reports them (`completion_queue`, `streams`; `late_calls` are those whose
messages do not arrive). A request's bytes are recognised by their prefix, or pass the boundary (`admission`); then it
waits in its model's queue (`dispatcher`). Requests with one prefix run by a short cut (`same_prefix`); all others, as
on the public transport, by `batching.execution`. Out: each request answered once.

`completion_queue` uses what grpcio keeps private, with `grpcio_private`; where grpcio lacks something of it, the public
transport serves both methods.

Imports `grpcio_private`, `protocol` and every room below that.

Threads: `completion_queue`, `large_requests`.

Door: `completion_queue`, `dispatcher`, `open_streams`, `prefixes`, `varying_fields`.
"""
