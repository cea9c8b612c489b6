"""Fixtures of publishing: a small checkpoint, the version published from it, and a check of refused publications.

Both suites import them into the conftest.py of their folder `export`.
"""

import shutil
from pathlib import Path

import pytest
import torch

from rnnserve.export import pipeline, publish
from rnnserve.export.classifiers import classifier_publication
from rnnserve.export.verify import verify_version
from rnnserve.models import LABELS, Architecture, DirectionClassifier, load_checkpoint, save_checkpoint

NAME = "direction_small"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        classifier = DirectionClassifier.of(Architecture(hidden=4))
    folder = tmp_path_factory.mktemp("checkpoints") / NAME
    save_checkpoint(folder, classifier, name=NAME, labels=LABELS)
    return folder


@pytest.fixture(scope="session")
def exported(checkpoint, tmp_path_factory):
    """The repository, which tests must not change, and the result of the export."""
    repository = tmp_path_factory.mktemp("published") / "repository"
    return repository, publish(
        classifier_publication(load_checkpoint(checkpoint)), repository=repository, progress=False
    )


@pytest.fixture(scope="session")
def verified(exported):
    """The checks of `verify` of that version."""
    return verify_version(exported[1].published.folder, progress=False)


@pytest.fixture
def repository(exported, tmp_path) -> Path:
    """A copy of the repository that a test may change."""
    return Path(shutil.copytree(exported[0], tmp_path / "repository"))


@pytest.fixture
def version(repository) -> Path:
    return repository / NAME / "1"


@pytest.fixture
def not_published(tmp_path, monkeypatch):
    """`not_published(error, match, publication)` checks that the publication is refused before anything is exported."""
    monkeypatch.setattr(pipeline, "to_onnx", lambda *_: pytest.fail("nothing is to be exported"))
    monkeypatch.setattr(pipeline, "script_model", lambda *_: pytest.fail("nothing is to be exported"))

    def check(error, match, publication):
        with pytest.raises(error, match=match):
            publish(publication, repository=tmp_path / "repository", progress=False)
        assert not (tmp_path / "repository").exists()

    return check
