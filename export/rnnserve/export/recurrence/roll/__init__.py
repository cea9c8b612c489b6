"""Export of modules with loops of Python: what repeats for each step in captures at a few lengths becomes a scan.

`rolling` has a module traced at a few sizes. `tracing` gives unrolled programs, simplified so that reads see what was
written, and `items` reads one as a list. `sweeping` finds runs of equal copies, and explains them: what is the same for
all, what is carried from step to step, what is a step of a sequence, and how numbers change. `items` makes one of the
rolled lists, with numbers that follow from the sizes. `emission` evaluates it, with `rnnserve.export.scan` for the
loops, in a capture with symbolic sizes.

Values of the exported model are compared with the module's at many sizes (`value_trials`), and on both sides of
conditions on the length. Nothing is known of the module's source code.

Door: `__all__`.
"""

from rnnserve.export.recurrence.refusals import NotRolled
from rnnserve.export.recurrence.roll.rolling import RolledCapture, rolled_capture

__all__ = ["NotRolled", "RolledCapture", "rolled_capture"]
