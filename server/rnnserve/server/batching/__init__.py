"""Batching: which requests share a run, how they are joined and split, and how a run is made, recorded and answered.

In: `PendingRequest`s from the dispatcher, and a model that runs batches. Out: each request
answered exactly once, with its own rows of the results or with an error.

Imports `validation`, `counting`, `observing`, `errors` and `clock`; no gRPC.

Threads: `schedulers`.

Door: `__all__`, `batch_arrays`, `execution`, `planning`, `schedulers`, `statistics`, `step_run`,
`waiting_queue`.
"""

__all__ = ["MAX_REQUESTS"]

MAX_REQUESTS = 256
"""How many requests are in one batch, and how many the fast path collects before it hands them on."""
