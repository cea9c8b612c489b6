"""The Python blocks of every page work as written, and print what the page says."""

import pytest

from kit.documentation import prepare_folder
from kit.page_sessions import OTHERS, examples, run_examples

BLOCKS = {f"{name}:{group[0].line}": group for name, page in OTHERS.items() for group in examples(page)}


@pytest.fixture(scope="module")
def kept_folder(repository, checkpoints, tmp_path_factory):
    folder = tmp_path_factory.mktemp("python")
    prepare_folder(folder, repository, checkpoints)
    return folder


@pytest.mark.parametrize("place", BLOCKS)
def test_python_blocks_work(place, port, kept_folder, monkeypatch):
    monkeypatch.chdir(kept_folder)
    run_examples(place.partition(":")[0], BLOCKS[place], port)
