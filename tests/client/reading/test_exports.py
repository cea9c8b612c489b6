import rnnserve.client.reading


def test_exported_names():
    assert rnnserve.client.reading.__all__ == ["FORMATS", "NamedRows", "guess_format", "read_arrays", "read_rows"]
    assert all(hasattr(rnnserve.client.reading, name) for name in rnnserve.client.reading.__all__)
