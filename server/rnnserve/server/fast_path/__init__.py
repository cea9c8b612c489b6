"""The fast path: ModelInfer and ModelStreamInfer on one thread that polls a completion queue.

Input: calls and streams as events of grpcio's core (`fast_path`, `streams`, `gateway_stream`). A request is recognized
by its template, or passes request validation, and waits in its model's queue (`dispatcher`). Requests with one template
run together (`template_runs`), all others through `batching.execution`. Output: one response per request.

`grpcio_core` is the only file that uses private parts of grpcio.

Imports `protocol` and every package below that.

Threads: `dispatcher`, `fast_path`.

Public: `calls`, `dispatcher`, `fast_path`, `grpcio_core`, `templates`.
"""
