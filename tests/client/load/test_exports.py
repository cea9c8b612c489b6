import rnnserve.client.load
import rnnserve.client.load.report


def test_exported_names():
    # The load test is used as the command `rnnserve load`, not as a library.
    assert rnnserve.client.load.__all__ == []


def test_exported_names_of_the_report():
    assert rnnserve.client.load.report.__all__ == ["render_report"]
    assert all(hasattr(rnnserve.client.load.report, name) for name in rnnserve.client.load.report.__all__)
