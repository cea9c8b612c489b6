"""Request validation: turns a request's bytes into checked arrays.

In: the bytes of a ModelInferRequest, and the model's `Signature`. Out: a `CheckedRequest`, which is safe to run, or an
`InvalidRequest` that names the tensor and the axis.

Imports `settings`, `errors` and the contracts (`rnnserve.protos`); no gRPC.

Public: `checking`, `parsing`, `signature`, `signature_reading`.
"""
