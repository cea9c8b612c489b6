"""Batches of requests with one prefix: by calls of their own, and steps of sequences, which have states beside."""

from collections.abc import Sequence

from rnnserve.server.lane.arrived_requests import ArrivedRequest
from rnnserve.server.lane.pending_calls import StepCall
from rnnserve.server.lane.prefixes import RequestPrefix
from rnnserve.server.lane.same_prefix import SamePrefixRuns

__all__ = ["SamePrefixBatch", "SameStepBatch"]


class _OfOnePrefix:
    """What batches of requests with one prefix have in common."""

    __slots__ = ("_prefix", "_runs", "arrivals", "rows")

    def __init__(self, runs: SamePrefixRuns, prefix: RequestPrefix, arrivals: Sequence[float]) -> None:
        self._runs = runs
        self._prefix = prefix
        self.arrivals = arrivals
        self.rows = len(arrivals) * prefix.batch

    @property
    def steps(self) -> int:
        """Steps of all of their rows, together."""
        return self.rows * self._prefix.steps

    @property
    def padded_steps(self) -> int:
        """Steps of the run beside these: a padding row's."""
        return (self.rows & 1) * self._prefix.steps if self._prefix.is_joined else 0

    @property
    def rows_each(self) -> list[int]:
        """Rows of each of them."""
        return [self._prefix.batch] * len(self.arrivals)


class SamePrefixBatch(_OfOnePrefix):
    """Calls with one prefix, as one batch.

    Attributes:
        members: The calls.
        rows: Rows of all of them.
        arrivals: Their arrivals, in seconds on the clock of `clock`.
    """

    __slots__ = ("_id_fields", "members")

    def __init__(
        self,
        runs: SamePrefixRuns,
        prefix: RequestPrefix,
        calls: Sequence[ArrivedRequest],
        id_fields: Sequence[bytes],
        arrivals: Sequence[float],
    ) -> None:
        """Make a batch.

        Args:
            runs: The runs that are kept.
            prefix: Prefix of the calls.
            calls: The calls.
            id_fields: The id's field of each, tag and size included, empty for none; or nothing where none has an id.
            arrivals: Times of their arrivals, in seconds on the clock of `clock`.
        """
        _OfOnePrefix.__init__(self, runs, prefix, arrivals)  # once a run, and cheaper than super()
        self._id_fields = id_fields
        self.members = calls

    def run(self) -> list[bytes] | None:
        """Run them, and give the responses; None where a value is not plainly valid."""
        run = self._runs.get(self._prefix, len(self.members))
        return run.run([call.payload for call in self.members], self._id_fields)

    def part(self, part: slice) -> "SamePrefixBatch":
        """Give some of the calls as a batch of their own."""
        return SamePrefixBatch(
            self._runs,
            self._prefix,
            self.members[part],
            self._id_fields[part],
            self.arrivals[part],
        )


class SameStepBatch(_OfOnePrefix):
    """Requests of sequences with one prefix, as one batch.

    Attributes:
        members: What is answered, each with the bytes of its response and of its states.
        rows: Rows of all of them.
        arrivals: Their arrivals, in seconds on the clock of `clock`.
    """

    __slots__ = ("_calls", "members")

    def __init__(self, runs: SamePrefixRuns, prefix: RequestPrefix, calls: Sequence[StepCall]) -> None:
        """Make a batch.

        Args:
            runs: The runs that are kept.
            prefix: Prefix of the calls.
            calls: The calls.
        """
        _OfOnePrefix.__init__(self, runs, prefix, [call.arrived for call in calls])
        self._calls = calls
        self.members = [_StepMember(call) for call in calls]

    def run(self) -> list[tuple[bytes, tuple[bytes, ...]]] | None:
        """Run them, and give the responses and the states; None where one is not plainly valid."""
        calls, batch = self._calls, self._prefix.batch
        before: list[tuple[bytes, ...]] = []
        for call in calls:
            states = call.step.states(batch)
            if states is None:
                return None
            before.append(states)
        run = self._runs.get(self._prefix, len(calls))
        run.set_states(before)
        responses = run.run([call.call.payload for call in calls], [call.id_field for call in calls])
        return None if responses is None else list(zip(responses, run.states(), strict=True))

    def part(self, part: slice) -> "SameStepBatch":
        """Give some of the calls as a batch of their own."""
        return SameStepBatch(self._runs, self._prefix, self._calls[part])


class _StepMember:
    """Answers a call with the bytes of its response and of its states."""

    __slots__ = ("_call", "origin", "refuse")

    def __init__(self, call: StepCall) -> None:
        self._call = call
        self.refuse, self.origin = call.refuse, call.origin

    def answer(self, answer: tuple[bytes, tuple[bytes, ...]]) -> None:
        """Send the response, and keep the states."""
        self._call.answer_encoded(*answer)
