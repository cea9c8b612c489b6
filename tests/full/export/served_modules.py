"""Publishing a module, serving it, and comparing each answer with the module's own: alone, in a crowd, and in parts."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from rnnserve.client import Client
from rnnserve.export import Floats, Publication, publish
from rnnserve.server.testing import serve

CUTS = (0, 1, 4, 9)
"""Steps before which a sequence is cut."""


def nasty(rng, shape):
    """Give a request's values of each kind that exports have gone wrong with, by the name of the kind."""
    usual = rng.standard_normal(shape).astype(np.float32)
    return {
        "usual": usual,
        "silence": np.zeros(shape, np.float32),
        "one value": np.full(shape, 1.5, np.float32),
        "large": usual * 300,
        "tiny": usual * np.float32(1e-12),
        "ties": np.round(usual),
    }


class Served:
    """A published module on a server of its own.

    Args:
        publication: The module, of one input (batch, sequence, …), and what is said of it.
        folder: Empty folder, for the repository.
        stateless: Function that gives the module's results for a tensor; the module itself, called, if None.
    """

    def __init__(self, publication, folder, stateless=None):
        self.publication, self._folder = publication, folder
        self._own = stateless or publication.module
        (self.input,) = publication.inputs
        self.manifest = publish(publication, repository=folder, progress=False).manifest

    def own(self, x):
        """Give the module's own results by name."""
        with torch.no_grad():
            results = torch.utils._pytree.tree_leaves(self._own(torch.from_numpy(x)))
        return {name: each.numpy() for name, each in zip(self.publication.outputs, results, strict=True)}

    def check(self, requests, *, limit=3e-5, in_parts=()):
        """Ask for each request alone, for all at once, and in parts for outputs that have a sequence axis.

        Args:
            requests: Arrays (1, sequence, …).
            limit: Largest difference, as a part of the largest value of the output, or of 1.
            in_parts: Outputs with steps that are asked for in parts of a sequence, too.
        """
        name = self.publication.name
        with serve(self._folder) as server, Client(server.address, timeout=60) as client:
            for x in requests:
                self._equal(client.infer(name, {self.input: x}), self.own(x), limit)
            with ThreadPoolExecutor(8) as threads:
                answers = list(threads.map(lambda x: client.infer(name, {self.input: x}), requests * 3))
            for x, answer in zip(requests * 3, answers, strict=True):
                self._equal(answer, self.own(x), limit)
            if in_parts:
                for x in requests:
                    self._in_parts(client, x, in_parts, limit)

    def _in_parts(self, client, x, outputs, limit):
        steps = x.shape[1]
        with client.session(self.publication.name) as session:
            parts = [
                session.step({self.input: x[0, first:end]})
                for first, end in itertools.pairwise((*(cut for cut in CUTS if cut < steps), steps))
            ]
        own = self.own(x)
        joined = {name: np.concatenate([part[name] for part in parts]) for name in outputs}
        self._equal(joined, {name: own[name][0] for name in outputs}, limit)

    def _equal(self, found, own, limit):
        for name, expected in own.items():
            assert found[name].shape == expected.shape, name
            assert found[name].dtype == expected.dtype, name
            largest = max(1.0, float(np.abs(expected.astype(np.float64)).max(initial=0)))
            difference = np.abs(found[name].astype(np.float64) - expected).max(initial=0) / largest
            assert difference <= limit, f"{name} is off by {difference}"


def publication_of(module, name, outputs=("y",), features=3, **more):
    """Describe a module of one input x, (batch, sequence, features)."""
    inputs = {"x": Floats("batch", "sequence", features)}
    return Publication(module.eval(), name, more.pop("inputs", inputs), list(outputs), **more)
