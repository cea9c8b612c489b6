"""The protocol: the methods of the Open Inference Protocol, and the bytes of responses.

In: messages, or the bytes of a ModelInfer request. Out: messages. For ModelInfer, the output is the requested version
and a `CheckedRequest`, and after the run the response's bytes. The states of a sequence are kept here (`sequences`) or
by the client (`sealed_states`). This package doesn't depend on a transport: the fast path and the plain transport both
call `Service`.

Imports `repository`, `batching`, `validation`, `connections`, `counting`, `access`, `settings`, `errors`, `clock`,
`rnnserve.common` and the contracts (`rnnserve.protos`); no gRPC.

Threads: `sequences`.

Public: `responses`, `sequences`, `service`.
"""
