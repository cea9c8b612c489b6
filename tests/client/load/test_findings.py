import pytest

from rnnserve.client.load.findings import list_findings


@pytest.mark.parametrize(
    ("settings", "finding"),
    [
        ({"errors": {"UNAVAILABLE": 3}, "details": {"UNAVAILABLE": "gone"}}, "3 x UNAVAILABLE, the first: gone"),
        ({"checked": 10, "wrong": 4}, "4 of 10 labels are wrong (40.0%)"),
        ({"checked": 10}, "all 10 are as expected"),
        ({"compared": 10, "different": 4}, "4 of 10 rows have other answers than the golden ones (40.0%)"),
        ({"compared": 10}, "answers: those to all 10 rows agree with the golden ones"),
        ({}, "not checked"),
        ({"seconds": 0.25}, "cut short after 0.2 s"),
        ({"cpu": 0.99}, "the generator, not the server"),
        ({"closed": 4}, "closed loop"),
        ({"sessions": 4}, "sessions: a step is due a think time after the last answer"),
        ({"sessions": 4, "errors": {"UNAVAILABLE": 3}}, "4 sessions: 3 x UNAVAILABLE"),
    ],
)
def test_what_figures_do_not_show_is_said(load_test, result, settings, finding):
    assert finding in "\n".join(list_findings(load_test([result(**settings)])))


@pytest.mark.parametrize(
    ("slo", "verdict"),
    [
        ("p99=500ms", "holds at 6,400 requests/s"),
        ("p99=15ms", "holds at 200 requests/s, not at 400 requests/s (p99 was"),
        ("p99=1us", "does not hold, not even at 100 requests/s"),
    ],
)
def test_the_verdict_names_the_rate_on_each_side(load_test, sweep, slo, verdict):
    assert verdict in list_findings(load_test(sweep, slo))[-1]
