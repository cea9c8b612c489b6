"""Batching: which requests share an inference call, how they are joined and split, and how they are answered.

Input: `PendingRequest`s from the dispatcher, and a model that runs batches. Output: one response per request, with the
request's own rows of the results or with an error.

Imports `validation`, `counting`, `observing`, `errors` and `clock`, but not gRPC.

Threads: `schedulers`.

Public: `__all__`, `batch_arrays`, `execution`, `schedulers`, `statistics`, `step_run`, `waiting_queue`.
"""

__all__ = ["MAX_REQUESTS"]

MAX_REQUESTS = 256
"""Maximum number of requests in a batch, and the number that the fast path collects before it dispatches them."""
