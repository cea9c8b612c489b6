"""Trials and models that are not there: what a loader does with what comes of them."""

import types

from rnnserve.protos import model_config_pb2
from rnnserve.server.batching.planning import Cost
from rnnserve.server.repository import draft, loader
from rnnserve.server.repository.findings import Findings
from rnnserve.server.repository.graph_choice import GraphChoice
from rnnserve.server.repository.trial_process import Refused, Trial, TrialProcess
from rnnserve.server.repository.trials import Trials

__all__ = ["FOUND", "NO_GOOD", "FakeTrials", "fake_models", "load_fake", "serve_newest"]

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


class FakeTrials(Trials):
    """Lets every version pass, but for those of which something else is said.

    Attributes:
        begun: The versions that were tried, in this order.
        seconds: How long each might take.
        graphs: Which graph was asked for.
        made: The processes, each with the versions that it has tried.
        is_closed: Whether it was closed.
    """

    def __init__(self):
        self.begun = []
        self.seconds = []
        self.graphs = []
        self.made = []
        self.is_closed = False
        self._outcomes = {}
        super().__init__()

    def refuse(self, *versions: str):
        for version in versions:
            self.give(version, Refused(NO_GOOD))

    def give(self, version: str, *outcomes: Exception | None):
        """Say what comes of a version's trials, in order; None is success, and the last one holds on."""
        self._outcomes[version] = list(outcomes)

    def trial(self, trial: Trial):
        """Begin a trial, as a process does."""
        assert trial.folder.parts[-2:] == (trial.name, trial.version)
        assert trial.inside in (None, trial.folder.parent.parent)
        assert (trial.device, trial.allow_unproven, trial.threads) == ("cpu", False, 1)
        assert trial.max_bytes == 512 << 20
        self.seconds.append(trial.seconds)
        self.begun.append(f"{trial.name}/{trial.version}")
        self.graphs.append(trial.graph)

    def outcome(self, version: str):
        """What comes of a trial. For the thread that waits for it."""
        outcomes = self._outcomes.get(version, [None])
        outcome = outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]
        if outcome is not None:
            raise outcome
        return FOUND

    def _new_process(self):
        self.made.append(FakeProcess(self))
        return self.made[-1]

    def close(self):
        super().close()
        self.is_closed = True


class FakeProcess(TrialProcess):
    """Tries what `FakeTrials` says.

    Attributes:
        tried: The versions that it has tried.
        is_closed: Whether it was closed.
    """

    def __init__(self, trials: FakeTrials):  # without a process
        self._trials = trials
        self.is_ready = True
        self.tried = []
        self.is_closed = False

    def begin(self, trial: Trial):
        self._trials.trial(trial)
        self.tried.append(f"{trial.name}/{trial.version}")

    def outcome(self):
        return self._trials.outcome(self.tried[-1])

    def stop(self):
        pass

    def close(self):
        self.is_closed = True


def load_fake(folder, name, version, device, *, allow_unproven, allow_non_finite, threads, inside, known, signed):
    """Load a version that has passed, without a file."""
    assert (folder.parts[-2:], device, allow_unproven, known) == ((name, version), "cpu", False, FOUND)
    assert (threads, allow_non_finite) == (1, False)
    manifest = types.SimpleNamespace(model=name, inputs=[], outputs=[], self_sha256=f"{name}/{version}")
    return types.SimpleNamespace(
        name=name, version=version, manifest=manifest, device=device, graph=known.graph, about={}, parts=None, faults=[]
    )


def fake_models(monkeypatch):
    """Let versions that have passed be loaded without a file."""
    monkeypatch.setattr(loader, "load_model", load_fake)
    monkeypatch.setattr(loader, "check_tensors", lambda *_: None)


def serve_newest(monkeypatch, wanted: int = 1, not_chosen: tuple[int, ...] = ()):
    """Let the configs say that the `wanted` newest versions serve, except for those not chosen."""
    monkeypatch.setattr(draft, "read_config", lambda folder, *_: model_config_pb2.ModelConfig(name=folder.name))

    def choose(_, versions):
        return sorted(set(versions) - set(not_chosen), reverse=True), wanted

    monkeypatch.setattr(draft, "versions_to_serve", choose)
