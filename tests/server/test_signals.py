"""Signals are read from a pipe. None is lost, whatever the main thread does."""

import queue
import signal
import subprocess
import sys
import threading

from rnnserve.server.signals import follow_signals, receive_signals

PATIENCE = 20.0


def test_signals_are_read_in_their_order():
    with receive_signals(signal.SIGTERM, signal.SIGHUP) as signals:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
        assert signals.read() == [signal.SIGHUP, signal.SIGTERM]


def test_signals_are_handled_on_another_thread():
    taken = queue.Queue()
    with follow_signals(lambda number: taken.put((number, threading.current_thread().name)), signal.SIGHUP):
        signal.raise_signal(signal.SIGHUP)
        assert taken.get(timeout=PATIENCE) == (signal.SIGHUP, "signals")
    assert "signals" not in [thread.name for thread in threading.enumerate()]


ON_ANOTHER_THREAD = """
import signal, threading
from rnnserve.server.signals import follow_signals

told = threading.Event()

def raise_here():
    # The kernel interrupts this thread, and the main one sleeps in a lock: its handler in Python would never run.
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

with follow_signals(lambda number: told.set(), signal.SIGTERM):
    threading.Timer(0.3, raise_here).start()
    told.wait()
"""


def test_signal_that_interrupts_another_thread_is_not_lost():
    subprocess.run([sys.executable, "-c", ON_ANOTHER_THREAD], timeout=PATIENCE, check=True)
