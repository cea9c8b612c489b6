"""`rnnserve load` with the server that it is for."""

import json

from rnnserve.cli import main


def test_a_server_for_the_time_of_the_test(repository, capsys):
    status = main(
        [
            "load",
            "--serve",
            str(repository),
            "--serve-flags",
            "--grace 1",
            "--rate",
            "100",
            "--duration",
            "0.5",
            "--warmup",
            "0.1",
            "--length",
            "2:30",
            "--json",
            "-",
        ]
    )
    said = capsys.readouterr()
    assert status == 0, said.err
    found = json.loads(said.out)
    assert found["passed"]
    (point,) = found["points"]
    assert point["labels"]["checked"] == point["sent"] > 0
    assert {model["name"] for model in found["models"]} == {
        "direction_simple",
        "direction_stacked",
        "direction_bidirectional",
    }
    assert sum(point["batches"].values()) > 0
