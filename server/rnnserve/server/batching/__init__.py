"""Batching: which requests share a run, how they are joined and split, and how a run is made, recorded and answered.

In: `PendingRequest`s, from the lane or from the public transport, and a model that runs batches. Out: each request
answered exactly once, with its own rows of the results or with an error.

Here stand, once each: what a run costs (`cost`), which requests share one (`planning`), the even-row rule and the only
assembly of a batch of checked requests (`batch_arrays`), the queue of a model (`fair_queue`), the one function that
runs a batch, records it and answers (`execution`), runs that go on by steps (`step_run`), the threads of models
(`scheduler`, `schedulers`), when each run began (`runs_in_progress`), what comes too late (`lateness`), and the counts
(`statistics`).

Imports `boundary`, `connections`, `counting`, `observing`, `errors` and `clock`; no gRPC.

Threads: `scheduler`.

Door: `__all__`, `batch_arrays`, `cost`, `execution`, `fair_queue`, `lateness`, `pending`,
`runs_in_progress`, `schedulers`, `statistics`, `step_run`, `waiting_limits`.
"""

__all__ = ["MAX_REQUESTS"]

MAX_REQUESTS = 256
"""How many requests are in one batch, and how many the lane collects before it hands them on: after as many, the thread
looks after others."""
