"""Requests like those of hostile clients: bursts in which valid requests and their mutants share a prefix.

The fast path parses a prefix once and then recognizes it by its bytes. So each mutation is applied to several requests
with different data and ids, and the later ones use the template of the first.
"""

import random
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from campaigns.fuzzing.byte_mutations import mutate_bytes
from campaigns.fuzzing.field_mutations import mutate_fields
from campaigns.fuzzing.message_mutations import mutate_message, with_other_values
from kit.examples import EXAMPLES, Arrays
from kit.inference_requests import request
from rnnserve.protos import inference_pb2 as pb

_KEPT = 64
"""Mutants that are sent again later."""


def valid_requests(classifiers: Mapping[str, tuple[int, int]], seed: int) -> list[bytes]:
    """Return a few valid requests for each model: several sizes, omitted inputs, named outputs, with and without an id.

    Args:
        classifiers: Direction classifiers to add to the example models: (layers * directions, hidden) by name.
        seed: Random seed of the values.
    """
    numbers = np.random.default_rng(seed)
    found: list[bytes] = []
    for name, example in EXAMPLES.items():
        for outputs in ((), tuple(output.name for output in example.outputs[-1:])):
            messages = [request(name, example.draw(numbers), outputs, id=id_) for id_ in ("", "7")]
            found += [message.SerializeToString() for message in messages]
    for name, (layers, hidden) in classifiers.items():
        for left_out in ((), ("h_0",), ("lengths", "h_0")):
            for id_ in ("", "first"):
                sent = _walks(numbers, layers, hidden, left_out)
                found.append(request(name, sent, ("logits",) if id_ else (), id=id_).SerializeToString())
    return found


def valid_steps(classifiers: Mapping[str, tuple[int, int]], seed: int) -> list[bytes]:
    """Return requests of some sequences of each classifier: first, middle and last steps.

    Args:
        classifiers: By name, (layers * directions, hidden).
        seed: Random seed of the values.
    """
    numbers = np.random.default_rng(seed)
    found: list[bytes] = []
    for name, (layers, hidden) in classifiers.items():
        for identity in (pb.InferParameter(int64_param=3), pb.InferParameter(string_param="a")):
            for starts, ends in ((True, False), (False, False), (False, False), (False, True)):
                sent = _walks(numbers, layers, hidden, ("h_0",) if ends else ("lengths", "h_0"))
                message = request(name, sent, ("logits",), id="step" if ends else "")
                message.parameters["sequence_id"].CopyFrom(identity)
                message.parameters["sequence_start"].bool_param = starts
                message.parameters["sequence_end"].bool_param = ends
                found.append(message.SerializeToString(deterministic=True))
    return found


def _walks(numbers: np.random.Generator, layers: int, hidden: int, left_out: Sequence[str]) -> Arrays:
    batch, sequence = int(numbers.integers(1, 4)), int(numbers.integers(1, 7))
    sent: Arrays = {
        "input": numbers.normal(size=(batch, sequence, 2)).astype(np.float32),
        "lengths": numbers.integers(1, sequence, batch, endpoint=True),
        "h_0": numbers.normal(size=(layers, batch, hidden)).astype(np.float32),
    }
    return {name: array for name, array in sent.items() if name not in left_out}


def mutate_request(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Mutate a request on one or two of three levels: content, encoding, bytes.

    Args:
        data: The request.
        others: Requests to copy parts from; may be empty.
        chance: Draws the kinds and places of changes.
    """
    level = chance.random()
    if level < 0.4:
        data = mutate_message(data, chance)
    if 0.3 < level < 0.75:
        return mutate_fields(data, others, chance)
    return mutate_bytes(data, others, chance) if level >= 0.75 else data


class Traffic:
    """Endless bursts, reproducible from a seed."""

    def __init__(self, seeds: Sequence[bytes], seed: int) -> None:
        """Start with valid requests alone.

        Args:
            seeds: Valid requests.
            seed: Of everything that is drawn.
        """
        self._seeds = seeds
        self._chance = random.Random(seed)
        self._kept: list[tuple[bytes, int]] = []  # a valid request, and the seed of a mutation of it

    def bursts(self) -> Iterator[list[bytes]]:
        """Yield bursts of requests to send at the same time."""
        while True:
            base = self._chance.choice(self._seeds)
            mutation = self._chance.getrandbits(32)
            if self._kept and self._chance.random() < 0.25:
                base, mutation = self._chance.choice(self._kept)
            elif len(self._kept) < _KEPT:
                self._kept.append((base, mutation))
            else:
                self._kept[self._chance.randrange(_KEPT)] = base, mutation
            count = self._chance.choice((1, 2, 3, 4, 6, 12))
            yield [self._one(base, mutation) for _ in range(count)]

    def _one(self, base: bytes, mutation: int) -> bytes:
        """Return a request with other values: valid, with the burst's mutation, or with its own mutation."""
        sent = with_other_values(base, self._chance)
        kind = self._chance.random()
        if kind < 0.3:
            return sent
        return mutate_request(sent, self._seeds, random.Random(mutation) if kind < 0.75 else self._chance)
