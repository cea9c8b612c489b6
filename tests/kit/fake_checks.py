"""Load checks and models that are not there: what a loader does with what comes of them."""

import types

from rnnserve.protos import model_config_pb2
from rnnserve.server.batching.execution import Cost
from rnnserve.server.repository import loader
from rnnserve.server.repository.findings import Findings, GraphChoice, LoadCheck
from rnnserve.server.repository.load_checks import LoadChecks, Refused

NO_GOOD = "golden.npz: no good"
COST = Cost(0.0, 0.0, 0.0, 0.0)
FOUND = Findings(
    "0" * 64,
    GraphChoice("native", "since it has no model.scan.onnx"),
    COST,
    batch_invariant=True,
    trims_outputs=False,
    continues=False,
    is_cut=True,
    why_not_in_parts="none",
)


class FakeChecks(LoadChecks):
    """Lets every version pass, except for those of which something else is said.

    Attributes:
        begun: The versions that were checked, in this order.
        seconds: How long each might take.
        graphs: Which graph was asked for.
        is_closed: Whether it was closed.
    """

    def __init__(self):  # without a process
        self.begun = []
        self.seconds = []
        self.graphs = []
        self.is_closed = False
        self._outcomes = {}

    def refuse(self, *versions: str):
        for version in versions:
            self.give(version, Refused(NO_GOOD))

    def give(self, version: str, *outcomes: Exception | None):
        """Say what comes of a version's checks, in order; None is success, and the last one holds on."""
        self._outcomes[version] = list(outcomes)

    def begin(self, check: LoadCheck):
        assert check.folder.parts[-2:] == (check.name, check.version)
        assert check.inside in (None, check.folder.parent.parent)
        assert (check.device, check.allow_unproven, check.threads) == ("cpu", False, 1)
        assert check.max_bytes == 512 << 20
        self.seconds.append(check.seconds)
        self.begun.append(f"{check.name}/{check.version}")
        self.graphs.append(check.graph)

    def outcome(self):
        outcomes = self._outcomes.get(self.begun[-1], [None])
        outcome = outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]
        if outcome is not None:
            raise outcome
        return FOUND

    def stop(self):
        pass

    def close(self):
        self.is_closed = True


def load_fake(check, *, known, allow_non_finite):
    """Load a version that has passed, without a file."""
    name, version = check.name, check.version
    assert (check.folder.parts[-2:], check.device, check.allow_unproven) == ((name, version), "cpu", False)
    assert (known, check.threads, allow_non_finite) == (FOUND, 1, False)
    manifest = types.SimpleNamespace(model=name, inputs=[], outputs=[], self_sha256=f"{name}/{version}")
    return types.SimpleNamespace(
        name=name, version=version, manifest=manifest, device="cpu", graph=known.graph, about={}, parts=None, faults=[]
    )


def fake_models(monkeypatch):
    """Let versions that have passed be loaded without a file."""
    monkeypatch.setattr(loader, "load_model", load_fake)
    monkeypatch.setattr(loader, "check_tensors", lambda *_: None)


def serve_newest(monkeypatch, wanted: int = 1, not_chosen: tuple[int, ...] = ()):
    """Let the configs say that the `wanted` newest versions serve, except for those not chosen."""
    monkeypatch.setattr(loader, "read_config", lambda folder, *_: model_config_pb2.ModelConfig(name=folder.name))

    def choose(_, versions):
        return sorted(set(versions) - set(not_chosen), reverse=True), wanted

    monkeypatch.setattr(loader, "versions_to_serve", choose)
