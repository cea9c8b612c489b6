"""Interfaces that real modules have, published and asked: rows of different lengths, alone and together."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from kit.interface_modules import ARGUMENTS, PACKED
from rnnserve.client import Client
from rnnserve.export import publish
from rnnserve.protos import manifest_pb2
from rnnserve.protos.batching_modes import BATCHING_MODES
from rnnserve.server.testing import serve

NAMES = ("padded_ids", "dict", "sorted_and_trimmed")
"""One for each form of input. export/description/test_made_inputs runs the others without a server."""

SERVED = {name: (ARGUMENTS | PACKED)[name] for name in NAMES}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, dict[str, manifest_pb2.Manifest]]]:
    repository: Path = tmp_path_factory.mktemp("interfaces")
    sizes = {"sequence": (1, 32)}  # short ones are proven in less time
    described = [dataclasses.replace(SERVED[name].publication(name), sizes=sizes) for name in SERVED]
    manifests = {each.name: publish(each, repository=repository, progress=False).manifest for each in described}
    with serve(repository) as server, Client(server.address) as connected:
        yield connected, manifests


@pytest.mark.parametrize("name", SERVED)
def test_rows_of_different_lengths_have_the_results_of_the_module(name, client):
    asked, manifests = client
    interface = SERVED[name]
    assert BATCHING_MODES[manifests[name].batching.mode].startswith("padded")
    module, random = interface.publication(name).module, np.random.default_rng(1)
    shape = () if manifests[name].inputs[0].datatype == "INT64" else (3,)
    rows = [
        random.integers(1, 19, size) if not shape else random.normal(size=(size, *shape)).astype(np.float32)
        for size in (1, 7, 3, 4)
    ]
    answers = asked.predict(name, rows)  # rows of different lengths: padded together
    for row, answer in zip(rows, answers, strict=True):
        with torch.no_grad():
            expected = interface.call(module, torch.from_numpy(row[None]), torch.tensor([len(row)]))
        np.testing.assert_allclose(answer["hidden"], expected[0].numpy(), rtol=1e-5, atol=1e-6)
