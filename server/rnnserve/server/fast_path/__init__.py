"""The fast path: ModelInfer and ModelStreamInfer on one thread that polls a completion queue.

In: calls and streams as grpcio's core reports them (`fast_path`, `streams`, `gateway_stream`). A request's bytes are
recognized by their template, or pass request validation (`admission`); then the request waits in its model's queue
(`dispatcher`). Requests with one template run by a short cut (`template_runs`), all others by `batching.execution`.
Out: each request answered once.

`grpcio_core` is the only file that names what grpcio keeps private.

Imports `protocol` and every package below that.

Threads: `admission`, `fast_path`.

Door: `calls`, `dispatcher`, `fast_path`, `grpcio_core`, `templates`.
"""
