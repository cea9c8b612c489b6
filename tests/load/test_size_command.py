"""`rnnserve size`, on documents that a load test writes."""

import json

import pytest

from rnnserve.cli import main
from rnnserve.load.results_document import build_results_document


@pytest.fixture
def document(load_test, sweep, run):
    """A document of seven rates, of which 100 and 200 hold p99=20ms, and 400 and 800 hold p50=4ms and do not."""

    def make(slo="p50=4ms", **changed):
        found = json.loads(json.dumps(build_results_document(load_test(sweep, slo), run)))
        found["workload"] |= {"inputs": None, "batch": "1"}
        return found | changed

    return make


@pytest.fixture
def size(tmp_path, capsys):
    """Runs the command on a document; returns exit status, output and errors."""

    def run(document, *words):
        path = tmp_path / "load.json"
        path.write_text(json.dumps(document))
        status = main(["size", str(path), "--target-rate", "5000", *words])
        said = capsys.readouterr()
        return status, said.out, said.err.replace(str(path), "load.json")

    return run


def test_the_arithmetic_is_shown(document, size):
    status, said, _ = size(document())
    found = json.loads(size(document(), "--json")[1])
    assert status == 0
    assert 400 < found["rate_of_one"] < 800
    assert found["servers"] == found["carrying"] + 1 == -(-5000 // found["rate_of_one"]) + 1
    assert f"one server carries {found['rate_of_one']:,.0f} requests/s at p50=4ms" in said
    assert "400/s held (p50 " in said
    assert "800/s not held (p50 " in said
    assert "between them by a straight line" in said
    assert f": {found['carrying']} carry 5,000 requests/s" in said
    assert f"+ 1 that may be away (failed, restarted, given another version): {found['servers']} servers" in said
    assert "resources of one server: not in the file" in said
    assert said.endswith("lengths: 4\n  rows a request: 1\n  processor: abacus <1>\n")


def test_servers_that_may_be_away_are_added(document, size):
    of_one, of_three = (json.loads(size(document(), "--spare", spare, "--json")[1]) for spare in ("1", "3"))
    assert of_three["servers"] == of_one["servers"] + 2
    assert "may be away" not in size(document(), "--spare", "0")[1]


def test_another_objective_is_judged_by_the_histograms(document, size):
    """By the same test: with none of 500 over the limit a p99 is held, with many over it is not."""
    found = json.loads(size(document(), "--slo", "p99=20ms", "--json")[1])
    decisions = {one["rate"]: one["decision"] for one in found["measured"]}
    assert [decisions[rate] for rate in (100, 200, 400, 800, 6400)] == [
        "held", "held", "undecided", "not held", "not held",
    ]  # fmt: skip
    own = json.loads(size(document("p99=20ms"), "--json")[1])
    assert own["measured"] == found["measured"]
    assert own["rate_of_one"] == found["rate_of_one"]


def test_above_the_highest_rate_nothing_is_said(document, size):
    found = json.loads(size(document("p99=500ms"), "--json")[1])
    assert (found["rate_of_one"], found["is_at_least"], found["is_interpolated"]) == (6400, True, False)
    assert "one server carries at least 6,400 requests/s" in (said := size(document("p99=500ms"))[1])
    assert "nothing above was measured, and it may carry more" in said


def test_several_servers_carry_even_parts(document, size):
    several = document(server={"address": "a:1,b:1,c:1", "name": "", "version": ""})
    one, third = (json.loads(size(each, "--json")[1])["rate_of_one"] for each in (document(), several))
    assert third == pytest.approx(one / 3)
    assert "3 servers were measured together" in size(several)[1]


def test_resources_are_those_that_the_load_test_has_measured(document, size):
    used = document("p99=500ms")
    for point in used["points"]:
        point |= {"server_cores": point["rate"] / 4000, "server_memory": 100 << 20}
    found = json.loads(size(used, "--json")[1])
    assert found["used"] == {"cores": 1.6, "memory_bytes": 100 << 20}
    assert found["resources"] == {"requests": {"cpu": "2000m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}
    assert "requests: cpu 2000m, memory 128Mi; limits: memory 256Mi" in size(used)[1]


def _closed(found):
    for point in found["points"]:
        point |= {"rate": None, "closed": 4}


def _wrong(found):
    found["points"][2]["labels"]["wrong"] = 3


def _without_objective(found):
    found["objective"] = None


def _edited(found):
    del found["points"][0]["latency"]


def _none_holds(found):
    for point in found["points"]:
        point["verdict"]["decision"] = "not held"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_closed, "load.json: has no rates, and loads in flight and sessions do not say what servers carry; measure"),
        (_wrong, "load.json: 3 answers are wrong; nothing is sized by a server that gives such"),
        (_without_objective, "load.json: has no objective: give one, --slo p99=20ms"),
        (_edited, "load.json: a result lacks 'latency'; was the file edited?"),
        (_none_holds, "load.json: none of its 7 rates holds p50=4ms; the lowest, 100/s, is not held (p50 "),
        (dict.clear, "load.json: holds no workload; `rnnserve load --json` writes such files"),
    ],
)
def test_a_file_that_lacks_what_is_needed_is_refused_in_one_line(document, size, change, said):
    found = document()
    change(found)
    status, output, errors = size(found)
    assert (status, output) == (1, "")
    assert errors.startswith(f"rnnserve size: {said}")
    assert errors.count("\n") == 1


def test_the_rate_has_to_be_given(document, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["size", "load.json"])
    assert capsys.readouterr().err.startswith("rnnserve size: missing: --target-rate")
