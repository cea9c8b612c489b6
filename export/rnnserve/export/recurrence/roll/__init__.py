"""Exports modules with Python loops: operations that repeat for each step, in captures at a few lengths, become a scan.

`rolling` traces a module at a few sizes. `tracing` produces unrolled programs, simplified so that reads find written
values directly, and `items` converts a program to a list. `sweeping` finds consecutive equal copies in a list and
explains them: which values are shared, which are carried from step to step, which come from a step of a sequence, and
how numbers change. `items` then combines the rolled lists into one, with numbers that depend on the sizes. `emission`
evaluates the combined list in a capture with symbolic sizes, with `rnnserve.export.scan` for the loops.

`value_trials` compares the exported model with the module at many sizes, and on both sides of conditions on the length.
Nothing here reads the module's source code.

Public: `__all__`.
"""

from rnnserve.export.recurrence.refusals import NotRolled
from rnnserve.export.recurrence.roll.rolling import RolledCapture, rolled_capture

__all__ = ["NotRolled", "RolledCapture", "rolled_capture"]
