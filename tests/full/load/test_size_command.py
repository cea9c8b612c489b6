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
        printed = capsys.readouterr()
        return status, printed.out, printed.err.replace(str(path), "load.json")

    return run


def test_size_shows_how_it_computes_the_servers(document, size):
    status, said, _ = size(document())
    found = json.loads(size(document(), "--json")[1])
    assert status == 0
    assert 400 < found["rate_of_one"] < 800
    assert found["servers"] == found["carrying"] + 1 == -(-5000 // found["rate_of_one"]) + 1
    for words in (
        f"one server carries {found['rate_of_one']:,.0f} requests/s at p50=4ms",
        "400/s held (p50 ",
        "800/s not held (p50 ",
        f": {found['carrying']} carry 5,000 requests/s",
        f"+ 1 that may be away (failed, restarted, given another version): {found['servers']} servers",
        "resources of one server: not in the file",
    ):
        assert words in said
    spare = json.loads(size(document(), "--spare", "3", "--json")[1])
    assert spare["servers"] == found["servers"] + 2


def test_size_divides_by_the_servers_and_adds_their_resources(document, size):
    found = json.loads(size(document("p99=500ms"), "--json")[1])
    assert (found["rate_of_one"], found["is_at_least"], found["is_interpolated"]) == (6400, True, False)
    used = document("p99=500ms", server={"address": "a:1,b:1", "name": "", "version": ""})
    for point in used["points"]:
        point |= {"server_cores": point["rate"] / 2000, "server_memory": 200 << 20}
    found = json.loads(size(used, "--json")[1])
    assert found["rate_of_one"] == 3200
    assert found["resources"] == {"requests": {"cpu": "2000m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}


def test_size_refuses_a_file_that_lacks_what_it_needs(document, size, capsys):
    for change, said in (
        (lambda found: [point.update(rate=None, closed=4) for point in found["points"]], "load.json: has no rates"),
        (lambda found: found["points"][2]["labels"].update(wrong=3), "load.json: 3 answers are wrong"),
        (lambda found: found.update(objective=None), "load.json: has no objective: give one, --slo p99=20ms"),
        (
            lambda found: [point["verdict"].update(decision="not held") for point in found["points"]],
            "load.json: none of its 7 rates holds p50=4ms; the lowest, 100/s, is not held (p50 ",
        ),
        (dict.clear, "load.json: holds no workload; `rnnserve load --json` writes such files"),
    ):
        found = document()
        change(found)
        status, output, errors = size(found)
        assert (status, output) == (1, "")
        assert errors.startswith(f"rnnserve size: {said}")
        assert errors.count("\n") == 1
    with pytest.raises(SystemExit):
        main(["size", "load.json"])
    assert capsys.readouterr().err.startswith("rnnserve size: missing: --target-rate")
