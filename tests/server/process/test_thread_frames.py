"""The frames of threads are given, also where a collection of garbage would wait for ever."""

import gc
import subprocess
import sys
import threading

from rnnserve.server.process.thread_frames import thread_frames

MANY_COLLECTIONS = """
import gc, os, sys, threading
from rnnserve.server.process.thread_frames import thread_frames

class Cycle:
    def __init__(self):
        self.itself = self
    def __del__(self):
        threading.Thread(target=int).start()  # takes the lock of the runtime, under which frames are collected

os.close(2)
waits = threading.Event()
for _ in range(50):
    threading.Thread(target=waits.wait, daemon=True).start()
gc.set_threshold(1)
for _ in range(200):
    Cycle()
    {ask}()
print("all were given", flush=True)
os._exit(0)
"""


def test_frames_are_by_thread():
    is_over = threading.Event()
    thread = threading.Thread(target=is_over.wait)
    thread.start()
    frames = thread_frames()
    is_over.set()
    thread.join()
    assert frames[thread.ident].f_code.co_filename == threading.__file__
    assert frames[threading.get_ident()].f_back is sys._getframe()


def test_the_collector_is_left_as_it_was():
    assert gc.isenabled()
    thread_frames()
    assert gc.isenabled()
    gc.disable()
    try:
        thread_frames()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_collection_cannot_wait_for_what_is_held_while_frames_are_asked_for():
    """Of Python 3.11 and 3.12, `sys._current_frames` in its place does not end."""
    code = MANY_COLLECTIONS.format(ask="thread_frames")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "all were given\n"
