"""Batching: which requests share a run, how they are joined and split, and how a run is made, recorded and answered.

In: `PendingRequest`s from the dispatcher, and a model that runs batches. Out: each request
answered exactly once, with its own rows of the results or with an error.

Here stand, once each: what a run costs (`cost`), which requests share one (`planning`), the even-row rule and the only
assembly of a batch of checked requests (`batch_arrays`), the queue of a model (`waiting_queue`), the one function that
runs a batch, records it and answers (`execution`), runs that go on by steps (`step_run`), the threads of models
(`scheduler`, `schedulers`), when each run began (`runs_in_progress`), what comes too late (`lateness`), and the counts
(`statistics`).

Imports `boundary`, `counting`, `observing`, `errors` and `clock`; no gRPC.

Threads: `scheduler`.

Door: `__all__`, `batch_arrays`, `cost`, `execution`, `lateness`, `pending`, `runs_in_progress`,
`schedulers`, `statistics`, `step_run`, `waiting_queue`.
"""

__all__ = ["MAX_REQUESTS"]

MAX_REQUESTS = 256
"""How many requests are in one batch, and how many the fast path collects before it hands them on."""
