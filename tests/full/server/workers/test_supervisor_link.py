"""A worker's ends of the pipes."""

import os
import threading

from rnnserve.server.repository.pins import ModelPins, Pin, dump_pins
from rnnserve.server.workers.supervisor_link import Supervised

PATIENCE = 20.0


def pipes():
    """A worker, and its supervisor's ends: to read reports from, and to write to the lifeline."""
    report_read, report_write = os.pipe()
    lifeline_read, lifeline_write = os.pipe()
    return Supervised(report_write, lifeline_read, None), report_read, lifeline_write


def test_it_waits_until_it_may_listen_however_long_its_pins_are():
    worker, reports, lifeline = pipes()
    ended = threading.Event()
    worker.follow(ended.set)
    pins = {"a": ModelPins({1: Pin("x" * 200_000)})}  # a pipe holds 64 kB
    done = threading.Event()

    def load():
        worker.say_loaded(pins)
        done.set()
        worker.say_ready()

    threading.Thread(target=load, daemon=True).start()
    with os.fdopen(reports) as reader:
        assert reader.readline() == f"loaded {dump_pins(pins)}\n"
        assert not done.is_set()
        os.write(lifeline, b"listen\n")
        assert reader.readline() == "ready\n"
        assert done.is_set()
        assert not ended.is_set()
        os.close(lifeline)
        assert ended.wait(PATIENCE)
        os.close(worker._report_fd)
        assert reader.read() == ""
