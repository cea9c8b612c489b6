"""A missing dependency is named in one line, with how to install it."""

import pytest

from benchmarks.environments import Environment, find_h2load
from benchmarks.errors import MissingDependency


def test_a_load_generator_that_is_not_installed_is_named_with_its_package(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingDependency, match="nghttp2-client"):
        find_h2load()


def test_a_peer_that_no_index_has_is_named_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    environment = Environment(tmp_path / "env", ("rnnserve-no-such-peer",), "a peer")
    with pytest.raises(MissingDependency, match=r"a peer cannot be installed: .*rnnserve-no-such-peer") as caught:
        environment.ensure()
    assert "\n" not in str(caught.value)
    assert not (environment.folder / "installed").exists()


def test_an_environment_with_the_right_packages_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("something was run"))
    environment = Environment(tmp_path, ("one", "two"), "a peer")
    (tmp_path / "installed").write_text("one\ntwo")
    environment.ensure()
