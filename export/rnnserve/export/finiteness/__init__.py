"""Where NaN and infinity come from, and that none is lost on the way.

`value_ranges` walks a graph and bounds every value, by the rules of `operator_ranges`: which values can be NaN or
infinite though the inputs are finite. `recurrent_guard` adds nodes behind recurrent operators that make finite numbers
of NaN, where one can reach them. `finiteness_record` says of both what the manifest has. `first_non_finite` runs a
module and finds the operator that gave the first one.

Door: `__all__`, `first_non_finite`.
"""

from rnnserve.export.finiteness.finiteness_record import describe_finiteness
from rnnserve.export.finiteness.recurrent_guard import guard_recurrences

__all__ = ["describe_finiteness", "guard_recurrences"]
