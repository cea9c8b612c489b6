import rnnserve.load
import rnnserve.load.report


def test_exported_names():
    # The load test is used as the command `rnnserve load`, not as a library.
    assert rnnserve.load.__all__ == []


def test_exported_names_of_the_report():
    assert rnnserve.load.report.__all__ == ["render_report"]
    assert all(hasattr(rnnserve.load.report, name) for name in rnnserve.load.report.__all__)
