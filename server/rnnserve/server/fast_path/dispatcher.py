"""From calls that arrived on the fast path to their runs: which wait, for how long, and which model is next.

Short runs are on the fast path's own thread, a batch of one model at a time: what arrives meanwhile is in the next
batch. If nothing waits, calls that have just arrived are run at once. A large model, or a request that takes long by
itself, runs on the model's own thread, so that it delays no other; a request of many bytes is parsed on another, too.

What a request costs, step by step: docs/lab/findings.md, "What a request costs".
"""

import threading
from collections import deque
from typing import cast

from rnnserve.server.batching import MAX_REQUESTS
from rnnserve.server.batching.execution import all_in_time, run_batch, run_pending
from rnnserve.server.batching.schedulers import Schedulers
from rnnserve.server.batching.waiting_queue import QueueLimits, WaitingQueue
from rnnserve.server.clock import now
from rnnserve.server.errors import InternalError, ServeError
from rnnserve.server.fast_path.admission import Admission, LargeRequests, PendingCall, StepCall
from rnnserve.server.fast_path.calls import ArrivedRequest
from rnnserve.server.fast_path.template_runs import SamePrefixBatch, SamePrefixRuns, SameStepBatch
from rnnserve.server.fast_path.templates import RequestPrefix
from rnnserve.server.protocol.service import Service
from rnnserve.server.repository.model import Model

__all__ = ["Dispatcher"]

_SHORT_SECONDS = 10e-3
"""Seconds that a run on the fast path's own thread may take, during which it does nothing else. A model whose run of
64 rows of 64 steps takes more runs on another thread, and so does a request that takes more alone."""

_FEW_SECONDS = 20e-3
"""Seconds of runs that may wait in a queue before cancellations are watched, which costs two events a request. With
5e-3 as many as 32 requests of hidden 128 and 1 to 64 steps in flight were watched, which cost a tenth of the
inferences a second."""

_MANY_CALLS, _NAP_SECONDS = 8, 2e-3
"""Calls in hand from which the fast path's thread, woken, sleeps first, where all are run on the models' threads: what
arrives in that time is taken together. Each wake-up takes from the model, and a request that shares runs of some
milliseconds with seven waits for longer. Closed loop of 32 (RNN 512, a busy machine): 647 to 564 µs of processor time
a request."""

_APART_SECONDS = 1.0
"""Seconds without a request that ran on the fast path's own thread, after which all are taken for large models'."""


class Dispatcher:
    """Takes calls, and runs them a batch at a time. For one thread, the fast path's."""

    def __init__(self, service: Service, schedulers: Schedulers) -> None:
        """Start with nothing waiting; the service's settings say how much may wait for each model."""
        self._limits = QueueLimits(service.settings.max_queue, service.settings.max_wait)
        self._schedulers = schedulers
        large_requests = LargeRequests(service, self._submit)
        self.take_large = large_requests.submit  # parses and runs a request of many bytes on other threads
        self.close = large_requests.close  # ends the thread of large requests within some seconds; whether it has ended
        self._admission = Admission(service, self.take_large, self._step)
        self._runs = SamePrefixRuns()
        self._queues: dict[Model, WaitingQueue[PendingCall]] = {}
        self._turns: deque[Model] = deque()
        self._next_steps: list[StepCall] = []  # whose turn in their sequences has come
        self._leaving: set[Model] = set()  # models that serve no more, and for which requests wait
        self._thread = 0  # the number of the thread that works here
        self._ran_here_at = self._ran_elsewhere_at = 0.0  # when the last request came of each kind

    def nap_seconds(self, calls: int) -> float:
        """Seconds that the woken fast path sleeps before it looks for more, if all calls are on models' threads."""
        is_apart = self._ran_elsewhere_at > self._ran_here_at + _APART_SECONDS
        return _NAP_SECONDS if is_apart and calls >= _MANY_CALLS else 0.0

    def take(self, arrived: list[ArrivedRequest]) -> None:
        """Run or queue calls, or refuse them. An empty list, now and then, frees models that serve no more."""
        if self._admission.models_have_changed():
            self._runs.clear()
            self._forget_models()
        if not arrived:
            return
        self._thread = self._thread or threading.get_ident()
        at = now()
        if not self._turns and self._run_at_once(arrived, at):
            self._ran_here_at = at
            return
        self._enqueue_all(self._admission.admit(arrived, at))

    def queued(self) -> dict[Model, int]:
        """How many requests wait on the fast path, by model. For any thread."""
        return {model: len(queue) for model, queue in list(self._queues.items())}

    def work(self) -> bool:
        """Run a batch of the model whose turn it is, and return whether more waits."""
        if self._next_steps:
            self._enqueue_all([])
        if not self._turns:
            return bool(self._next_steps)
        model = self._turns.popleft()
        queue = self._queues[model]
        taken = queue.take(model.cost, model.cost.points_within(_SHORT_SECONDS), is_padded=model.signature.is_padded)
        try:
            self._run(model, taken)
        except Exception as error:  # noqa: BLE001 - a defect must neither keep callers waiting nor hold up a sequence
            _refuse_all(taken, error)
        if queue:
            self._turns.append(model)
        elif model in self._leaving:
            self._forget_models()
        return bool(self._turns or self._next_steps)

    def _forget_models(self) -> None:
        """Drop models that serve no more, as soon as nothing waits for them."""
        unserved = set(self._queues) - self._admission.models()
        self._leaving = {model for model in unserved if self._queues[model]}
        for model in unserved - self._leaving:
            del self._queues[model]

    def _run_at_once(self, calls: list[ArrivedRequest], arrived: float) -> bool:
        """Run calls that have just arrived. Return False if they don't have one prefix, or don't fit in one run."""
        prefix = self._admission.shared_prefix(calls)
        if prefix is None or not prefix.is_joined or prefix.served.model not in self._queues:
            return False
        cost, count = prefix.served.model.cost, len(calls)
        most_points = min(cost.enough(prefix.steps), cost.points_within(_SHORT_SECONDS), cost.max_points)
        if count > MAX_REQUESTS or count * prefix.points > most_points or not all_in_time(calls, arrived):
            return False
        batch = SamePrefixBatch(self._runs, prefix, calls, (), [arrived] * count)
        return run_batch(prefix.served.model, batch)

    def _run(self, model: Model, taken: list[PendingCall]) -> None:
        """Run what was taken from a model's queue: by the short cut if all have one prefix."""
        prefix = _shared_prefix(taken)
        if (
            prefix is not None
            and (len(taken) == 1 or prefix.is_joined)
            and prefix.is_bindable
            and len(taken) * prefix.points <= model.cost.max_points
        ):
            if prefix.states:
                steps = cast("list[StepCall]", taken)  # no other calls have such a prefix
                if run_batch(model, SameStepBatch(self._runs, prefix, steps)):
                    return
            else:
                id_fields = [p.id_field for p in taken]
                calls, arrivals = [p.call for p in taken], [p.arrived for p in taken]
                if run_batch(model, SamePrefixBatch(self._runs, prefix, calls, id_fields, arrivals)):
                    return
        run_pending(model, taken)

    def _step(self, model: Model, pending: StepCall) -> None:
        """Take a request of a sequence whose turn has come: on the thread that has answered the one before it."""
        if threading.get_ident() == self._thread:
            self._next_steps.append(pending)
        else:
            self._submit(model, pending)

    def _enqueue_all(self, calls: list[PendingCall]) -> None:
        """Put calls, and the steps whose turn has come, into their models' queues."""
        calls += self._next_steps
        self._next_steps = []
        by_model: dict[Model, list[PendingCall]] = {}
        for pending in calls:
            by_model.setdefault(pending.served.model, []).append(pending)
        for model, of_model in by_model.items():
            try:
                self._enqueue(model, of_model)
            except Exception as error:  # noqa: BLE001 - as in `work`
                _refuse_all(of_model, error)

    def _enqueue(self, model: Model, calls: list[PendingCall]) -> None:
        """Put calls into their model's queue, and give those that take long to the model's own thread."""
        cost, points = model.cost, _points(calls)
        queue = self._queues.get(model)
        if queue is None or points > cost.points_within(_SHORT_SECONDS):
            is_large = queue is None and cost.of(64, 64 * len(model.signature.sequence_axes) or 1) > _SHORT_SECONDS
            small: list[PendingCall] = []
            for pending in calls:
                if is_large or cost.of(pending.rows, pending.steps) > _SHORT_SECONDS:
                    self._submit(model, pending)
                else:
                    small.append(pending)
            if not small:
                self._ran_elsewhere_at = calls[-1].arrived
                return
            calls, points = small, _points(small)
        self._ran_here_at = calls[-1].arrived
        if queue is None:
            queue = self._queues[model] = WaitingQueue(self._limits)
        if len(calls) == 1 and not self._turns:
            self._run(model, calls)  # nothing waits, so it need not either
            return
        if not queue:
            self._turns.append(model)
        most_points = cost.points_within(_FEW_SECONDS)
        if queue.has_room_for(len(calls)) and queue.points + points <= most_points:
            queue.extend(calls, points)
            return
        for pending in calls:
            refusal = queue.refusal(model.name, cost, pending)
            if refusal is not None:
                pending.refuse(refusal)
                continue
            if queue.points > most_points:
                pending.watch()
            queue.add(pending)

    def _submit(self, model: Model, pending: PendingCall) -> None:
        """Give a request to its model's own thread, or refuse it."""
        pending.watch()
        try:
            self._schedulers.submit(model, pending)
        except ServeError as error:
            pending.refuse(error)


def _refuse_all(calls: list[PendingCall], error: Exception) -> None:
    hidden = InternalError.hiding(error)
    for pending in calls:
        pending.refuse(hidden)


def _shared_prefix(calls: list[PendingCall]) -> RequestPrefix | None:
    """The prefix of all of these, where it is known, one and the same, and all are still to be run."""
    prefix = calls[0].prefix
    for pending in calls:
        if pending.prefix is not prefix:
            return None
    return prefix if all_in_time(calls, now()) else None


def _points(calls: list[PendingCall]) -> int:
    """Rows * steps of all of these."""
    return sum([pending.rows * pending.steps for pending in calls])
