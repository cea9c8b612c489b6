"""The lane: ModelInfer and ModelStreamInfer on a completion queue of its own, on one thread, the fast way.

In: calls and streams as grpcio's core reports them (`completion_queue`, `streams`). A request's bytes are recognised by
their prefix, or pass the boundary (`admission`); then it waits in its model's queue (`dispatcher`). Requests with one
prefix run by a short cut (`same_prefix`); all others, as on the public transport, by `batching.execution`. Out: each
request answered once.

`completion_queue` and `socket_reading` are the only modules that use what grpcio keeps private; where grpcio lacks
something of it, the public transport serves both methods.

Imports `protocol`, `repository`, `batching`, `boundary`, `settings` and `errors`.
"""
