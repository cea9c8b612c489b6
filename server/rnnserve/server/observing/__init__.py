"""What those who run the server see of single requests: lines of the log, and spans.

The rooms above report refusals and runs (`observer`). If nothing observes them, that costs one comparison a run.
Otherwise a thread of its own writes the lines and makes the spans: the threads that answer don't wait, and
what is too much is left out and counted.

Imports `counting`, `clock`, `errors`, `rnnserve.common` and the contracts
(`rnnserve.protos`); no gRPC. If spans are wanted, `observer` imports OpenTelemetry.

Threads: `observer`.

Door: `observer`, `origins`.
"""
