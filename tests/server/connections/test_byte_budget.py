"""The budget of bytes: of all connections, and of one."""

import threading

import pytest

from rnnserve.server.connections.byte_budget import ByteBudget
from rnnserve.server.errors import TooMuchHeld


def test_a_connection_has_half_of_the_budget():
    budget = ByteBudget(1000)
    budget.take("a", 500)
    with pytest.raises(TooMuchHeld) as refused:
        budget.take("a", 1)
    assert str(refused.value) == (
        "requests and unread responses of this connection take 500 bytes of the 500 that one may (half of the "
        "limit that --max-message-bytes sets); read the responses, and slow down"
    )
    budget.take("b", 500)
    assert budget.held == 1000


def test_all_connections_have_the_budget():
    budget = ByteBudget(1000)
    for connection in "abc":
        budget.take(connection, 333)
    with pytest.raises(TooMuchHeld) as refused:
        budget.take("d", 2)
    assert str(refused.value) == (
        "requests and unread responses take 999 bytes of this server's 1,000 (--max-message-bytes sets this limit); "
        "slow down"
    )
    assert budget.held == 999
    budget.take("d", 1)


def test_what_is_refused_is_not_held():
    budget = ByteBudget(1000)
    for _ in range(3):
        with pytest.raises(TooMuchHeld):
            budget.take("a", 501)
    assert budget.held == 0
    assert not budget._held


def test_threads_share_it():
    budget = ByteBudget(1 << 20)

    def take_and_give_back():
        for _ in range(3000):
            budget.take("a", 7)
            budget.give_back("a", 7)

    threads = [threading.Thread(target=take_and_give_back) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.held == 0
