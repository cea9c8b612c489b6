"""A turn goes to each connection in turn, and none is lost."""

import threading

from rnnserve.server.transport.receiving_turns import ReceivingTurns

PATIENCE = 20.0


def test_turns_are_free_until_they_are_taken():
    turns = ReceivingTurns(2)
    assert turns.take_at_once()
    turns.take("a")
    assert not turns.take_at_once()
    assert (turns.free, turns.are_waited_for) == (0, False)
    turns.give_back(3)  # one more than there were
    assert turns.free == 3


def test_connections_are_woken_in_turn():
    turns, woken, threads = ReceivingTurns(0), [], []
    came = threading.Semaphore(0)

    def wait(name):
        turns.take(name[0])
        woken.append(name)
        came.release()

    def waiting():
        return sum(len(queue) for queue in turns._waiting.values())

    for number, name in enumerate(("a1", "a2", "a3", "b1", "c1", "b2")):
        threads.append(threading.Thread(target=wait, args=(name,)))
        threads[-1].start()
        while waiting() <= number:
            assert threads[-1].is_alive()
    assert turns.are_waited_for
    for _ in threads:
        turns.give_back()
        assert came.acquire(timeout=PATIENCE)
    assert woken == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert (turns.free, turns.are_waited_for) == (0, False)
    for thread in threads:
        thread.join(PATIENCE)
