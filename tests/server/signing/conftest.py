"""Keys, and a place for a repository."""

import pytest

from kit.signed_versions import make_key


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """A key that is trusted, and one of a stranger."""
    folder = tmp_path_factory.mktemp("keys")
    return make_key(folder, "ours"), make_key(folder, "stranger")


@pytest.fixture
def key(keys):
    return keys[0]


@pytest.fixture
def repository(tmp_path):
    return tmp_path / "repository"
