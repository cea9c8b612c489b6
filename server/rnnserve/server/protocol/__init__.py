"""The protocol: what each method of the Open Inference Protocol answers, and the bytes of responses.

In: messages, or the bytes of a ModelInfer request. Out: messages; for ModelInfer the version that it asks and a
`CheckedRequest`, and after its run the response's bytes. States between the requests of a sequence are kept here
(`sequences`), or by the client (`sealed_states`). No transport is known here: the fast path and the plain one
both call `Service`.

Imports `repository`, `batching`, `validation`, `connections`, `counting`, `access`, `settings`, `errors`, `clock`,
`rnnserve.common` and the contracts (`rnnserve.protos`); no gRPC.

Threads: `sequences`.

Door: `responses`, `sequences`, `service`.
"""
