"""A repository that changes while it serves, compared with a model of the versions that should serve."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kit.fake_checks import NO_GOOD, FakeChecks
from kit.live_repositories import Published, replace_loading
from rnnserve.server.errors import NotFound, NotReady
from rnnserve.server.repository.repository import READY, UNAVAILABLE, Status

GOOD, BAD = ("first", "second"), ("broken", "refused")
"""Words that stand for a version's digest: "broken" does not match its files, and the load check of "refused" fails."""

MODELS, VERSIONS = st.sampled_from("abc"), st.integers(1, 3)
NEWER = Status(UNAVAILABLE, "a newer version serves")
KEPT = Status(READY, f"was loaded before; what its folder holds now: {NO_GOOD}")


class Trying(FakeChecks):
    """Refuses each version whose word is bad."""

    def begin(self, check):
        super().begin(check)
        version = f"{check.name}/{check.version}"
        if (check.folder / "manifest.json").read_text() in BAD:
            self.refuse(version)
        else:
            self.give(version, None)


class LiveStates(RuleBasedStateMachine):
    """The newest version that holds serves. A version that was loaded stays when its new files don't hold."""

    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        replace_loading(self.patch)
        self.folder = tempfile.TemporaryDirectory()
        self.published = Published(Path(self.folder.name), Trying())
        self.on_disk = {"a": {1: "first"}, "b": {1: "first"}}
        self.serves = {"a": (1, "first"), "b": (1, "first")}
        self.statuses = {name: {1: Status(READY)} for name in self.on_disk}

    def teardown(self):
        self.patch.undo()
        self.folder.cleanup()

    @rule(model=MODELS, version=VERSIONS, word=st.sampled_from(GOOD + BAD))
    def publish(self, model, version, word):
        self.published.publish(f"{model}/{version}", word)
        self.on_disk.setdefault(model, {})[version] = word

    @rule(model=MODELS, version=VERSIONS)
    def remove_version(self, model, version):
        if self.on_disk.get(model, {}).pop(version, None):
            shutil.rmtree(self.published.root / model / str(version))

    @rule(model=MODELS)
    def remove_model(self, model):
        if self.on_disk.pop(model, None) is not None:
            shutil.rmtree(self.published.root / model)

    @rule()
    def look(self):
        found = self.published.look()
        for model in "abc":
            self._expect(model)
        assert found == self.statuses

    def _expect(self, model):
        """Work out what a look makes of a model."""
        versions, loaded = self.on_disk.get(model), self.serves.pop(model, None)
        self.statuses.pop(model, None)
        if versions is None:
            return
        told = self.statuses[model] = {}
        for version, word in sorted(versions.items(), reverse=True):
            is_loaded = loaded is not None and loaded[0] == version
            if model in self.serves:
                told[version] = NEWER
            elif word in GOOD:
                told[version], self.serves[model] = Status(READY), (version, word)
            elif is_loaded:
                told[version], self.serves[model] = KEPT, loaded
            else:
                told[version] = Status(UNAVAILABLE, NO_GOOD)

    @invariant()
    def serves_what_the_last_look_found(self):
        for model in "abc":
            if model in self.serves:
                version, word = self.serves[model]
                assert self.published.serving(model) == (str(version), word)
            else:
                with pytest.raises((NotFound, NotReady)):
                    self.published.models.find(model)


TestLiveStates = LiveStates.TestCase
TestLiveStates.settings = settings(max_examples=25, stateful_step_count=30)
