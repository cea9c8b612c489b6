"""What each thread does, on standard error, when an operator asks: SIGUSR1, and SIGQUIT before the end.

`faulthandler` writes it in the C handler of the signal, without the interpreter's lock, which a library may keep.
"""

import faulthandler
import signal

__all__ = ["show_stacks_at_signals"]

_STANDARD_ERROR = 2


def show_stacks_at_signals() -> None:
    """Write the stacks of all threads at SIGUSR1 and SIGQUIT; then do what the signal has done before.

    At SIGQUIT that is to end. SIGUSR1 would do so, too, and does nothing else instead, unless a handler is set. To be
    called once: `faulthandler` sees no handler that is set after that.
    """
    is_handled = callable(signal.getsignal(signal.SIGUSR1))
    faulthandler.register(signal.SIGUSR1, file=_STANDARD_ERROR, all_threads=True, chain=is_handled)
    faulthandler.register(signal.SIGQUIT, file=_STANDARD_ERROR, all_threads=True, chain=True)
