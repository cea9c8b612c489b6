import rnnserve.client.reading


def test_exported_names():
    assert rnnserve.client.reading.__all__ == ["FORMATS", "NamedSequences", "guess_format", "read_sequences"]
    assert all(hasattr(rnnserve.client.reading, name) for name in rnnserve.client.reading.__all__)
