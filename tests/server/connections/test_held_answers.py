"""Answers that are held back are sent when they are released, and not before."""

import threading

from rnnserve.server.connections.held_answers import HeldAnswers

PATIENCE = 20.0


def test_answers_wait_only_while_they_are_held_back():
    answers = HeldAnswers()
    answers.wait_to_answer()
    answers.hold()
    assert answers.is_holding
    sent = threading.Event()
    thread = threading.Thread(target=lambda: (answers.wait_to_answer(), sent.set()))
    thread.start()
    assert not sent.wait(0.1)
    answers.release()
    assert sent.wait(PATIENCE)
    thread.join()
    answers.wait_to_answer()
