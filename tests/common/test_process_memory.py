"""The resident memory of this process, read from a file that stays open."""

from rnnserve.common.process_memory import resident_bytes

MB = 1 << 20


def test_resident_memory_follows_allocations():
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
