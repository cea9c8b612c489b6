"""An earlier commit of this server as a peer."""

import pytest

from benchmarks.__main__ import main
from benchmarks.earlier_commit import EarlierCommit
from benchmarks.report import render_report
from benchmarks.scenarios import SCENARIOS
from benchmarks.server_names import LANE, SESSION_RUN, TRITON, is_of_commit, server_of_commit
from benchmarks.source_trees import SourceTree

ABOUT = {"hardware": {"processor": "a processor"}, "versions": {"grpcio": "1.85.3"}}
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


@pytest.fixture
def earlier(tmp_path):
    models = {name: tmp_path / name for name in ("all_outputs", "logits_only")}
    for folder in models.values():
        (folder / "hidden_16").mkdir(parents=True)
    return EarlierCommit(SourceTree(tmp_path, "7845b38", "7845b38: Options", "/its/python"), models)


def test_it_has_its_turns_beside_the_lane(earlier):
    assert earlier.names_in(BY_NAME["throughput"], [TRITON, LANE, SESSION_RUN]) == [
        *(TRITON, LANE, earlier.server, SESSION_RUN)
    ]
    assert earlier.names_in(BY_NAME["throughput"], [TRITON]) == [TRITON]


@pytest.mark.parametrize(
    ("scenario", "reason"),
    [("lengths_gru_512", "its code makes no model gru_512"), ("steps", "only models for requests by themselves")],
)
def test_it_is_left_out_where_it_has_no_model_and_the_reason_is_said(earlier, scenario, reason):
    assert earlier.names_in(BY_NAME[scenario], [LANE]) == [LANE]
    assert reason in earlier.missing(BY_NAME[scenario])


def test_its_server_runs_in_its_own_environment(earlier):
    assert earlier.tree.command(["serve"])[0] == "/its/python"


def test_its_name_is_told_from_other_servers():
    assert is_of_commit(server_of_commit("7845b38"))
    assert not any(is_of_commit(server) for scenario in SCENARIOS for server in scenario.servers)


def test_the_report_has_ratios_to_it_and_to_the_models_limit(earlier):
    servers = {LANE: 400.0, earlier.server: 200.0, SESSION_RUN: 1000.0}
    found = {"throughput": {name: [{"requests/s": rate}] for name, rate in servers.items()}}
    assert f"requests/s of {LANE}: 2.00 x {earlier.server}, 0.40 x {SESSION_RUN}" in render_report(found, ABOUT)


def test_two_kinds_of_comparison_exclude_each_other(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--against", "HEAD", "--peer", "HEAD"])
    assert ended.value.code == 2
    assert "--peer do not apply" in capsys.readouterr().err
