"""What is told of single requests to those who run the server: lines of the log, and spans.

The rooms above tell of what they refuse and have run (`runs`). Where none listens, that costs
one comparison a run. Where one does (`observer`), a thread of its own writes the lines (`request_log`) and makes the
spans (`spans`): the threads that answer wait for neither, and what is too much is left out and counted.

Imports `counting`, `settings`, `clock`, `errors`, `rnnserve.common` and the contracts
(`rnnserve.protos`); no gRPC. If spans are wanted, `spans` imports OpenTelemetry.

Threads: `observer`.

Door: `observer`, `origins`, `runs`.
"""
