"""The boundary: the one room where a request's bytes become checked arrays.

In: the bytes of a ModelInferRequest, and the model's `Signature`. Out: a `CheckedRequest`, which is safe to run, or an
`InvalidRequest` that names the tensor and the axis.

Imports the contracts (`rnnserve.protos`), `settings` and `errors`; no other room, and no gRPC.
"""
