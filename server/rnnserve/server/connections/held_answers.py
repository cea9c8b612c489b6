"""Answers of a transport that are held back for a while, when a server goes."""

import threading

__all__ = ["HeldAnswers"]


class HeldAnswers:
    """Holds answers back. Any thread may use it.

    Attributes:
        is_holding: Whether answers are held back now.
    """

    def __init__(self) -> None:
        """Start without holding any."""
        self.is_holding = False
        self._may_answer = threading.Event()
        self._may_answer.set()

    def hold(self) -> None:
        """Let answers wait, until `release`."""
        self._may_answer.clear()
        self.is_holding = True

    def release(self) -> None:
        """Let answers be sent."""
        self.is_holding = False
        self._may_answer.set()

    def wait_to_answer(self) -> None:
        """Wait while answers are held back; on the thread that has one."""
        if self.is_holding:
            self._may_answer.wait()
