"""Observing: log lines and trace spans of single requests.

The code that answers requests reports refusals and batches to `observer`. Without an observer, this costs one
comparison per batch. With an observer, a separate thread writes the lines and creates the spans, so the threads that
answer don't wait. If too much is pending, the observer drops the rest and counts it.

Imports `counting`, `clock`, `errors`, `rnnserve.common` and the contracts (`rnnserve.protos`), but not gRPC. If spans
are enabled, `observer` imports OpenTelemetry.

Threads: `observer`.

Public: `observer`, `origins`.
"""
