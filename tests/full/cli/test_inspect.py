"""`rnnserve inspect` of the classifiers, whose versions have labels and graphs with loops."""

import json

from rnnserve.cli import main
from rnnserve.server.testing import serve


def test_the_program_of_a_classifier_runs(repository, capsys):
    """With lengths, states and everything that a verification records."""
    assert main(["inspect", str(repository), "direction_stacked", "--url", "HERE"]) == 0
    said = capsys.readouterr().out
    for expected in ("a PyTorch module (torch ", "largest distances", "labels    ", "model.scan.onnx, with loops"):
        assert expected in said
    program = "\n".join(line.removeprefix("    ") for line in said.partition("  in Python\n")[2].splitlines())
    with serve(repository) as server:
        exec(compile(program.replace("HERE", server.address), "snippet", "exec"), {})
    assert capsys.readouterr().out.splitlines()[0] == "logits (2,)"


def test_json_has_verification_of_both_graphs(repository, capsys):
    assert main(["inspect", str(repository), "direction_stacked", "--json"]) == 0
    (said,) = json.loads(capsys.readouterr().out)
    both = [said["proof"], said["scan_proof"]]
    assert both[0]["sequences"] == both[1]["sequences"] > 0
    assert both[0]["largest_distances"] != both[1]["largest_distances"]
    assert "model.scan.onnx" in [file["name"] for file in said["files"]]
