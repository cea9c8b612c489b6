"""The resident memory of this process, read from a file that stays open."""

import os

from rnnserve.common.resident_memory import resident_bytes

MB = 1 << 20


def test_it_grows_and_shrinks_with_what_is_held():
    before = resident_bytes()
    block = bytearray(b"x") * (64 * MB)
    held = resident_bytes()
    del block
    after = resident_bytes()
    assert before is not None
    assert held is not None
    assert after is not None
    assert held - before > 60 * MB
    assert held - after > 60 * MB


def test_a_forked_child_is_told_its_own():
    resident_bytes()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            before = resident_bytes() or 0
            held = bytearray(b"x") * (64 * MB)
            grown = (resident_bytes() or 0) - before
            del held
            os.write(write, b"%d" % grown)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        assert int(answer.read()) > 60 * MB
    os.waitpid(child, 0)
