"""What is asked of a repository's models is answered of one moment, whatever changes meanwhile; without files."""

import types
from pathlib import Path
from typing import Any

import pytest

from rnnserve.protos import model_config_pb2
from rnnserve.server.errors import NotReady
from rnnserve.server.repository.catalogue import Catalogue
from rnnserve.server.repository.draft import Draft
from rnnserve.server.repository.entries import LOADING, Entry, ServedVersion, Status

ROOT = Path("/repository")


def loading(*versions: int) -> Entry:
    return Entry(dict.fromkeys(versions, Status(LOADING)), {})


def served(name, version):
    manifest = types.SimpleNamespace(self_sha256=f"{name}/{version}")
    model: Any = types.SimpleNamespace(name=name, version=str(version), manifest=manifest, parts=None, faults=[])
    return ServedVersion(model, model_config_pb2.ModelConfig(name=name))


@pytest.fixture
def draft():
    return Draft(ROOT, {"a": loading(1, 2), "b": loading(1)}, "any")


CHANGES = {
    "serve": lambda draft: draft.serve(served("a", 2)),
    "leave out": lambda draft: draft.leave_out("a", 1, "a newer version serves"),
    "refuse": lambda draft: draft.refuse("a", 1, "golden.npz: no good"),
    "refuse all": lambda draft: draft.refuse_all("a", "config.pbtxt: is missing"),
    "unload": lambda draft: draft.unload(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_taken_before_a_change_stays_as_it_was(draft, change):
    draft.serve(served("a", 1))
    before = Catalogue(ROOT, draft._entries, "any")
    told = [(name, dict(versions)) for name, versions in before.statuses()], before.served()
    CHANGES[change](draft)
    assert ([(name, dict(versions)) for name, versions in before.statuses()], before.served()) == told
    assert [(name, dict(versions)) for name, versions in draft.statuses()] != told[0]


def test_only_what_changes_what_serves_counts_as_a_new_generation(draft):
    draft.refuse("a", 2, "golden.npz: no good")
    assert draft.generation == 0
    draft.serve(served("a", 1))
    draft.serve(served("b", 1))
    assert (draft.generation, draft.is_ready()) == (2, True)
    draft.leave_out("b", 1, "gone")
    assert draft.generation == 3
    with pytest.raises(NotReady, match=r'^model "b" does not serve: version 1: gone$'):
        draft.find("b")
