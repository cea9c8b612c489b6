"""Artifacts that are kept between test runs: made once for what they are made of, by one process, and never changed."""

import threading
import time

import pytest

from support.kept_artifacts import KeptArtifacts, digest_of


class Makes:
    """Writes a folder with one file, whose content is how often it was made."""

    def __init__(self):
        self.count = 0

    def __call__(self, folder):
        self.count += 1
        folder.mkdir()
        (folder / "file").write_text(str(self.count))


@pytest.fixture
def make():
    return Makes()


def test_it_is_made_once_for_a_digest(tmp_path, make):
    for number, digest in enumerate(["one", "one", "two", "two", "one"]):
        KeptArtifacts(tmp_path / "kept", digest).copy("name", make, tmp_path / str(number))
    assert [(tmp_path / str(number) / "file").read_text() for number in range(5)] == ["1", "1", "2", "2", "3"]
    assert sorted(path.name for path in (tmp_path / "kept" / "name").iterdir()) == ["lock", "one"]


def test_a_session_that_changes_its_copy_changes_nothing_else(tmp_path, make):
    kept = KeptArtifacts(tmp_path / "kept", "digest")
    (kept.copy("name", make, tmp_path / "first") / "file").write_text("changed")
    assert (kept.copy("name", make, tmp_path / "second") / "file").read_text() == "1"


def test_of_several_one_makes_it_and_the_others_wait(tmp_path, make):
    def slowly(folder):
        time.sleep(0.2)
        make(folder)

    def take(number):
        KeptArtifacts(tmp_path / "kept", "digest").copy("name", slowly, tmp_path / str(number))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(tmp_path / str(number) / "file").read_text() for number in range(4)] == ["1"] * 4


def test_what_failed_or_was_killed_is_made_again(tmp_path, make):
    def fail(folder):
        folder.mkdir()
        raise ValueError

    kept = KeptArtifacts(tmp_path / "kept", "digest")
    with pytest.raises(ValueError):
        kept.copy("name", fail, tmp_path / "none")
    (tmp_path / "kept" / "name" / "half").mkdir()
    assert (kept.copy("name", make, tmp_path / "copy") / "file").read_text() == "1"
    assert sorted(path.name for path in (tmp_path / "kept" / "name").iterdir()) == ["digest", "lock"]


def test_a_fresh_run_makes_it_anew_once(tmp_path, make):
    KeptArtifacts(tmp_path / "kept", "digest").copy("name", make, tmp_path / "before")
    fresh = time.time()
    for name in ("one process", "another"):
        copy = KeptArtifacts(tmp_path / "kept", "digest", oldest=fresh).copy("name", make, tmp_path / name)
        assert (copy / "file").read_text() == "2"


def test_a_digest_is_that_of_paths_contents_and_versions(tmp_path):
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "one.py").write_text("1")
    (folder / "text").write_text("")

    def digest(*packages):
        return digest_of([folder], packages)

    before = digest("numpy")
    (folder / "text").write_text("no source")
    assert digest("numpy") == before
    digests = {before, digest("numpy", "torch"), digest("torch")}
    (folder / "one.py").write_text("2")
    digests.add(digest("numpy"))
    (folder / "one.py").rename(folder / "two.py")
    digests.add(digest("numpy"))
    assert len(digests) == 5
