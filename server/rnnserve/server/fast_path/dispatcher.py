"""The dispatcher turns arrived calls into pending ones, and decides how long they wait and which model runs next.

`Admission` recognizes a request by its template, or parses and validates it. Large requests are parsed and checked one
after another on a separate thread, and run on their model's thread.

Short batches run on the fast path's own thread, one model at a time. Requests that arrive meanwhile go into the next
batch. If nothing is pending, arrived calls run at once. A large model, or a request that takes long, runs on the
model's own thread, so that it doesn't delay other models.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import cast

from rnnserve.server.batching import MAX_REQUESTS
from rnnserve.server.batching.execution import all_in_time, run_batch, run_pending
from rnnserve.server.batching.schedulers import Schedulers
from rnnserve.server.batching.waiting_queue import QueueLimits, WaitingQueue
from rnnserve.server.clock import now
from rnnserve.server.connections.byte_budget import LARGE
from rnnserve.server.errors import DeadlinePassed, InternalError, ServeError, TooManyCalls
from rnnserve.server.fast_path.calls import ArrivedRequest, PendingCall, StepCall, TakeStep, pending_of
from rnnserve.server.fast_path.template_runs import SamePrefixBatch, SamePrefixRuns, SameStepBatch
from rnnserve.server.fast_path.templates import HEAD_BYTES, PrefixCache, RequestPrefix
from rnnserve.server.protocol.sequences import BeganOnAnotherVersion
from rnnserve.server.protocol.service import Service
from rnnserve.server.repository.model import Model
from rnnserve.server.validation.parsing import decompress, decompress_small, is_compressed

__all__ = ["Dispatcher"]

_SHORT_SECONDS = 10e-3
"""Maximum seconds of a batch on the fast path's thread, which does nothing else meanwhile. A model runs on another
thread if 64 rows of 64 steps take longer, and so does a single request that takes longer."""

_FEW_SECONDS = 20e-3
"""Seconds of queued work above which cancellations are watched, which costs two events per request. With a limit of
5e-3, up to 32 requests in flight (hidden size 128, 1 to 64 steps) were watched, which cost 10 % of the throughput."""

_MANY_CALLS, _NAP_SECONDS = 8, 2e-3
"""If all calls run on the models' threads and at least this many calls are in flight, the fast path's thread sleeps for
this many seconds after waking up. It then handles all requests that arrived meanwhile together. Each wake-up takes time
from the model, and requests that share batches of several milliseconds with seven others wait longer anyway. Measured
in a closed loop of 32 (RNN 512, a busy machine): CPU time per request falls from 647 to 564 µs."""

_APART_SECONDS = 1.0
"""Seconds without a request on the fast path's own thread after which all requests count as those of large models."""

_WAITING, _WAITING_OF_CONNECTION = 256, 64
"""Large or compressed requests that wait to be parsed, in total and per connection. The byte budget also limits them,
except for compressed requests, which take up to 50 ms each. Beyond it: RESOURCE_EXHAUSTED at once."""


class Dispatcher:
    """Takes calls and runs them in batches. Only for the fast path's thread."""

    def __init__(self, service: Service, schedulers: Schedulers) -> None:
        """Start with empty queues. The service's settings limit the queue of each model."""
        self._limits = QueueLimits(service.settings.max_queue, service.settings.max_wait)
        self._schedulers = schedulers
        large_requests = LargeRequests(service, self._submit)
        self.take_large = large_requests.submit  # parses and runs a large request on other threads
        self.close = large_requests.close  # ends the thread of large requests, and returns whether it ended
        self._admission = Admission(service, self.take_large, self._step)
        self._runs = SamePrefixRuns()
        self._queues: dict[Model, WaitingQueue[PendingCall]] = {}
        self._turns: deque[Model] = deque()
        self._next_steps: list[StepCall] = []  # whose turn in their sequences has come
        self._leaving: set[Model] = set()  # unloaded models with pending requests
        self._thread = 0  # the number of the fast path's thread
        self._ran_here_at = self._ran_elsewhere_at = 0.0  # arrival of the last request of each kind

    def nap_seconds(self, calls: int) -> float:
        """Return the seconds that the woken fast path sleeps if all calls run on the models' threads."""
        is_apart = self._ran_elsewhere_at > self._ran_here_at + _APART_SECONDS
        return _NAP_SECONDS if is_apart and calls >= _MANY_CALLS else 0.0

    def take(self, arrived: list[ArrivedRequest]) -> None:
        """Run, queue or refuse calls. Must be called regularly, if only with an empty list, to free unserved models."""
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
        """Return the number of pending requests on the fast path, by model. Thread-safe."""
        return {model: len(queue) for model, queue in list(self._queues.items())}

    def work(self) -> bool:
        """Run a batch of the model whose turn it is. Return whether more requests are pending."""
        if self._next_steps:
            self._enqueue_all([])
        if not self._turns:
            return bool(self._next_steps)
        model = self._turns.popleft()
        queue = self._queues[model]
        taken = queue.take(model.cost, model.cost.points_within(_SHORT_SECONDS), is_padded=model.signature.is_padded)
        try:
            self._run(model, taken)
        except Exception as error:  # noqa: BLE001 - a defect must not leave callers waiting or block a sequence
            _refuse_all(taken, error)
        if queue:
            self._turns.append(model)
        elif model in self._leaving:
            self._forget_models()
        return bool(self._turns or self._next_steps)

    def _forget_models(self) -> None:
        """Drop unloaded models, once they have no pending requests."""
        unserved = set(self._queues) - self._admission.models()
        self._leaving = {model for model in unserved if self._queues[model]}
        for model in unserved - self._leaving:
            del self._queues[model]

    def _run_at_once(self, calls: list[ArrivedRequest], arrived: float) -> bool:
        """Run arrived calls at once. Return False if they don't share a template or don't fit into one batch."""
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
        """Run requests taken from a model's queue, as a template run if they share a template."""
        prefix = _shared_prefix(taken)
        if (
            prefix is not None
            and (len(taken) == 1 or prefix.is_joined)
            and prefix.is_bindable
            and len(taken) * prefix.points <= model.cost.max_points
        ):
            if prefix.states:
                steps = cast("list[StepCall]", taken)  # other calls don't have such a template
                if run_batch(model, SameStepBatch(self._runs, prefix, steps)):
                    return
            else:
                id_fields = [p.id_field for p in taken]
                calls, arrivals = [p.call for p in taken], [p.arrived for p in taken]
                if run_batch(model, SamePrefixBatch(self._runs, prefix, calls, id_fields, arrivals)):
                    return
        run_pending(model, taken)

    def _step(self, model: Model, pending: StepCall) -> None:
        """Take a sequence request whose turn has come, on the thread that answered the previous request."""
        if threading.get_ident() == self._thread:
            self._next_steps.append(pending)
        else:
            self._submit(model, pending)

    def _enqueue_all(self, calls: list[PendingCall]) -> None:
        """Put calls, and steps whose turn has come, into their models' queues."""
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
        """Put calls into their model's queue, and pass long ones to the model's own thread."""
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
            self._run(model, calls)  # nothing is pending, so the call can run at once
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
        """Pass a request to its model's own thread, or refuse it."""
        pending.watch()
        try:
            self._schedulers.submit(model, pending)
        except ServeError as error:
            pending.refuse(error)


class Admission:
    """Admits calls and caches the templates of validated requests. Only for the fast path's thread."""

    def __init__(self, service: Service, take_large: Callable[[ArrivedRequest], None], take_step: TakeStep) -> None:
        """Start without templates. `take_large` takes calls that become large by decompression."""
        self._service = service
        self._take_large = take_large
        self._take_step = take_step
        self._prefixes = PrefixCache(allow_non_finite=service.settings.allow_non_finite)
        self._generation = service.repository.generation
        self._asks_for_tokens = service.settings.access_file is not None

    def models_have_changed(self) -> bool:
        """Clear the templates if the served models have changed since the last call. Return whether they have."""
        generation = self._service.repository.generation
        if generation == self._generation:
            return False
        self._generation = generation
        self._prefixes.clear()
        return True

    def models(self) -> set[Model]:
        """Return all served models."""
        return {model for served in self._service.repository.served() for model in served.models}

    def shared_prefix(self, calls: Iterable[ArrivedRequest]) -> RequestPrefix | None:
        """Return the calls' common template, or None if there is none or a call has varying fields."""
        prefix = self._prefixes.shared(calls)
        if prefix is not None and self._asks_for_tokens:
            for call in calls:
                grant = call.grant
                if grant is not None and not grant.is_for_all and not grant.is_for(prefix.served.model.name):
                    return None  # each call is then admitted separately
        return prefix

    def admit(self, calls: Iterable[ArrivedRequest], arrived: float) -> list[PendingCall]:
        """Admit or refuse calls that arrived together. Large calls, and steps before their turn, are admitted later."""
        admitted: list[PendingCall] = []
        for call in calls:
            try:
                pending = self._admit(call, arrived)
                if pending is not None:
                    admitted.append(pending)
            except ServeError as error:
                call.refuse(error)
            except Exception as error:  # noqa: BLE001 - a defect with one request must not affect the others
                call.refuse(InternalError.hiding(error))
        return admitted

    def _admit(self, call: ArrivedRequest, arrived: float) -> PendingCall | None:
        service = self._service
        found = self._prefixes.recognise(call.payload)
        if found is None and is_compressed(call.payload):
            payload = decompress_small(call.payload, LARGE)
            if payload is None:
                self._take_large(call)
                return None
            call.payload = payload
            found = self._prefixes.recognise(payload)
        if found is not None:
            prefix, id_field, sequence = found
            served = prefix.served
            if call.grant is not None and not call.grant.is_for_all:
                call.grant.check_model(served.model.name)
            recognised = PendingCall(call, served, prefix.batch, prefix.steps, arrived, service, prefix, id_field)
            if sequence is None:
                return recognised
            if sequence.starts:
                recognised.check()  # an invalid request must not replace an existing sequence
            step = StepCall(recognised, prefix.of_sequences, self._take_step)
            try:
                return step.enter(service.sequences, sequence)
            except BeganOnAnotherVersion:
                pass  # the parser finds out which version is requested
            except ServeError as error:
                recognised.check()  # errors in the request itself take precedence
                raise error.of(served.model.statistics.counts)  # noqa: B904 - the same error
        served, checked = service.accept(call.payload, call)
        if found is None:
            self._prefixes.add(call.payload, served, checked)
        return pending_of(call, served, checked, arrived, service, self._take_step)


class LargeRequests:
    """The thread for large calls, including compressed calls that become large."""

    def __init__(self, service: Service, submit: Callable[[Model, PendingCall], None]) -> None:
        """Start the thread. `submit` takes the admitted requests."""
        self._service = service
        self._submit = submit
        self._waiting: deque[tuple[ArrivedRequest, float]] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._loop, name="large requests", daemon=True)
        self._thread.start()

    def submit(self, call: ArrivedRequest) -> None:
        """Queue an arrived call, to be answered from another thread. Raise TooManyCalls if too many are queued."""
        connection = call.peer()
        with self._changed:
            if len(self._waiting) >= _WAITING:
                raise TooManyCalls("large requests", _WAITING)
            if sum([waiting.peer() == connection for waiting, _ in self._waiting]) >= _WAITING_OF_CONNECTION:
                raise TooManyCalls("large requests of this connection", _WAITING_OF_CONNECTION)
            self._waiting.append((call, now()))
            self._changed.notify()

    def close(self, timeout: float | None = None) -> bool:
        """Process the queued calls, and end the thread within `timeout` seconds. Return whether it has ended."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if not self._waiting:
                    return
                call, arrived = self._waiting.popleft()
            try:
                self._admit(call, arrived)
            except ServeError as error:
                call.refuse(error)
            except Exception as error:  # noqa: BLE001 - a defect with one request must not affect the others
                call.refuse(InternalError.hiding(error))
            del call  # it may hold 16 MB until the next call arrives

    def _admit(self, call: ArrivedRequest, arrived: float) -> None:
        if call.deadline < now():
            raise DeadlinePassed("the deadline passed before the request was read")
        payload = call.payload
        if is_compressed(payload):
            payload = decompress(payload, self._service.settings.max_message_bytes)
            call.hold(len(payload))
        served, checked = self._service.accept(payload, call)
        call.payload, payload = payload[:HEAD_BYTES], b""  # only its id is still needed
        pending = pending_of(call, served, checked, arrived, self._service, self._submit)
        if pending is not None:
            self._submit(pending.served.model, pending)


def _refuse_all(calls: list[PendingCall], error: Exception) -> None:
    hidden = InternalError.hiding(error)
    for pending in calls:
        pending.refuse(hidden)


def _shared_prefix(calls: list[PendingCall]) -> RequestPrefix | None:
    """Return the common template of the calls if there is one and no call is late, otherwise None."""
    prefix = calls[0].prefix
    for pending in calls:
        if pending.prefix is not prefix:
            return None
    return prefix if all_in_time(calls, now()) else None


def _points(calls: list[PendingCall]) -> int:
    """Return the total rows * steps of the calls."""
    return sum([pending.rows * pending.steps for pending in calls])
