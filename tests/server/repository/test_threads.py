"""Runs with several threads: a version is tried as it will run, and metadata say with how many."""

import pytest

from kit.bad_versions import publish_good
from rnnserve.server.repository import load_version as loading
from rnnserve.server.repository.load_version import load_model, try_version


def threads_of(model) -> int:
    return model.session.get_session_options().intra_op_num_threads


@pytest.mark.parametrize("threads", [1, 3])
def test_a_version_is_tried_and_loaded_with_as_many(tmp_path, monkeypatch, threads):
    folder = publish_good(tmp_path)
    made = []

    def note(model, signature, trials):
        made.append(threads_of(model.__self__))
        return True

    monkeypatch.setattr(loading, "is_batch_invariant", note)
    findings = try_version(folder, "good", "1", "cpu", threads=threads)
    assert made == [threads]
    assert threads_of(load_model(folder, "good", "1", "cpu", threads=threads, known=findings)) == threads
    assert threads_of(load_model(folder, "good", "1", "cpu", threads=threads)) == threads
