import pytest


@pytest.mark.parametrize(("slo", "rate"), [("p99=500ms", 6400), ("p99=15ms", 200), ("p99=1us", None)])
def test_with_an_objective_a_test_passes_if_some_load_meets_it(load_test, sweep, slo, rate):
    test = load_test(sweep, slo)
    assert test.passed is (rate is not None)
    assert (test.best and test.best.load.size) == rate


def test_wrong_labels_and_errors_fail(load_test, result):
    assert load_test([result()]).passed
    assert not load_test([result(checked=5, wrong=1)]).passed
    assert not load_test([result(checked=5, wrong=1)], "p99=5s").passed
    assert not load_test([result(), result(errors={"UNAVAILABLE": 1})]).passed


def test_above_the_rate_that_meets_the_objective_a_server_may_refuse(load_test, result):
    assert load_test([result(), result(errors={"RESOURCE_EXHAUSTED": 1}, rate=1000)], "p99=5s").passed
