"""Recognition of requests by their first bytes: more examples, and the public transport's."""

import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.inference_requests import request
from kit.kept_prefixes import NAME, agrees, asked, inputs, kept, parsed
from rnnserve.server.protocol.responses import encode_response
from rnnserve.server.transport.recognition import Recognition

SEEDS = st.integers(0, 2**32)


@settings(settings.get_profile("full"))
@given(SEEDS, st.lists(st.tuples(SEEDS, st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_never_mislead_recognition(service, seed, changes):
    payload = bytearray(asked(seed))
    prefixes = kept(service, bytes(payload))
    for at, value in changes:
        payload[at % len(payload)] = value
    agrees(service, prefixes, bytes(payload))


class Caller:
    grant = None

    def peer(self):
        return "ipv4:127.0.0.1:1"

    def identity(self):
        return ""


def test_threads_of_the_public_transport_recognize_requests_at_once(service):
    recognition = Recognition(service)
    messages = [
        request(NAME, inputs(np.random.default_rng(steps), 1, steps), id=str(steps)).SerializeToString()
        for steps in range(1, 40)
    ]
    expected, wrong = [parsed(service, message) for message in messages], []

    def answered(message):
        served, checked = recognition.accept(message, Caller())
        (outputs,) = served.model.run([checked])
        return encode_response(served.model, checked, outputs)

    def ask():
        for _ in range(5):
            wrong.extend(
                answer for message, answer in zip(messages, expected, strict=True) if answered(message) != answer
            )

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
