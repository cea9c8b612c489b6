"""Where the examples of the documentation run: a folder with the published models, and a server."""

import shutil

import pytest

from kit.serving import serve_in_process


@pytest.fixture(scope="session")
def port(repository):
    """Port of a server of the published models."""
    with serve_in_process(repository) as (_, port):
        yield port


@pytest.fixture(scope="module")
def folder(checkpoints, repository, tmp_path_factory):
    """A folder as `make serve` leaves it: `checkpoints` and `repository`, which examples may change."""
    folder = tmp_path_factory.mktemp("documentation")
    shutil.copytree(checkpoints, folder / "checkpoints")
    shutil.copytree(repository, folder / "repository")
    return folder
