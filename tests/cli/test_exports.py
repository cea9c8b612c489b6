import rnnserve.cli


def test_exported_names():
    assert rnnserve.cli.__all__ == ["main"]
    assert all(hasattr(rnnserve.cli, name) for name in rnnserve.cli.__all__)
