"""`rnnserve load` with the server that it is for."""

import json

from rnnserve.cli import main
from rnnserve.server.testing import serve


def test_load_starts_a_server_and_checks_every_answer(repository, capsys):
    words = [
        "--serve",
        str(repository),
        "--serve-flags",
        "--grace 1",
        "--rate",
        "200",
        "--pool",
        "5",
        "--duration",
        "0.5",
    ]
    status = main(["load", *words, "--warmup", "0.1", "--length", "2:30", "--json", "-"])
    printed = capsys.readouterr()
    assert status == 0, printed.err
    found = json.loads(printed.out)
    assert found["passed"]
    (point,) = found["points"]
    assert point["answers"]["compared"] > point["sent"] / 2
    assert point["answers"]["different"] == 0
    assert {model["name"] for model in found["models"]} == {
        "direction_simple",
        "direction_stacked",
        "direction_bidirectional",
    }
    assert sum(point["batches"].values()) > 0


def test_sessions_repeat_their_answers_bit_for_bit(repository, capsys):
    """Only the bidirectional model has no sessions."""
    words = ["--sessions", "3", "--think", "2ms", "--steps", "5", "--duration", "0.4", "--warmup", "0.1", "--json", "-"]
    with serve(repository) as server:
        status = main(["load", "--url", server.address, *words])
    printed = capsys.readouterr()
    assert status == 0, printed.err
    found = json.loads(printed.out)
    assert {model["name"] for model in found["models"]} == {"direction_simple", "direction_stacked"}
    (point,) = found["points"]
    assert point["answers"]["compared"] > 0
    assert point["answers"]["different"] == 0
