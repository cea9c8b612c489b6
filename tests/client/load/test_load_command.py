"""`rnnserve load` as it is used: processes, connections, a server; few requests and no limits on time."""

import json
import signal
import subprocess
import sys
from contextlib import ExitStack
from typing import Any

import grpc
import numpy as np
import pytest

from rnnserve.cli import main
from rnnserve.client.endpoint import Endpoint
from rnnserve.client.errors import ClientError, Unavailable
from rnnserve.client.load.generator_processes import GeneratorProcesses
from rnnserve.client.load.generator_worker import LoadTarget
from rnnserve.client.load.load_level import LoadLevel
from rnnserve.client.load.local_server import serve_repository
from rnnserve.protos import inference_pb2 as pb
from support.certificates import write_certificates
from support.fakes import FakeModel, FakeModels, serving

QUICK = ["--rate", "100", "--duration", "0.3", "--warmup", "0.1"]


@pytest.fixture
def load(address, capsys):
    """Runs `rnnserve load`; returns exit status, output and errors."""

    def run(*words, url=address):
        status = main(["load", "--url", url, *words])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture
def measured(load):
    """Runs `rnnserve load` and returns its exit status and its one point."""

    def run(*words):
        status, output, _ = load(*words, "--json", "-")
        (point,) = json.loads(output)["points"]
        return status, point

    return run


def test_every_answer_is_counted_and_checked(load, walks):
    status, output, errors = load(*QUICK, "--arrivals", "constant", "--batch", "2", "--length", "2:9")
    assert status == 0
    assert len(walks.requests) == 40
    head, line, _, *said = output.splitlines()
    assert head.startswith("requests/s  answers/s")
    assert line.startswith("100  ")
    assert "labels: all 60 are as expected" in said
    assert errors.startswith("[1/1] 100 requests/s: 30 answers")


def test_wrong_labels_are_counted_and_fail(measured, walks):
    walks.inverted = True
    status, point = measured(*QUICK, "--arrivals", "constant")
    assert status == 1
    assert point["labels"] == {"checked": 30, "wrong": 30}
    assert point["answered"] == 30


def test_labels_need_not_be_checked(measured, walks):
    walks.inverted = True
    status, point = measured(*QUICK, "--no-check")
    assert status == 0
    assert point["labels"] == {"checked": 0, "wrong": 0}


def test_typed_contents_are_read_too(measured, walks):
    walks.typed = True
    status, point = measured(*QUICK, "--arrivals", "constant")
    assert (status, point["labels"]) == (0, {"checked": 30, "wrong": 0})


@pytest.mark.parametrize(
    ("failure", "answer", "status"),
    [
        ((grpc.StatusCode.RESOURCE_EXHAUSTED, "full"), None, "RESOURCE_EXHAUSTED"),
        (None, pb.ModelInferResponse(), "INVALID_ANSWER"),
    ],
)
def test_errors_are_counted_by_status_and_fail(measured, walks, failure, answer, status):
    walks.failure, walks.answer = failure, answer
    exit_status, point = measured(*QUICK, "--arrivals", "constant")
    assert exit_status == 1
    assert point["errors"] == {status: 30}
    assert (point["sent"], point["answered"], point["latency"]["count"]) == (30, 0, 0)


@pytest.fixture
def counted():
    """A server of a model that sums token ids, and from its tenth answer on adds `counted.drift`."""

    class Counted(FakeModels):
        drift: float = 0
        address = ""

        def compute(self, tensors):
            drift = self.drift if len(self.asked) >= 10 else 0
            return {"sum": (tensors["tokens"].sum(axis=1, keepdims=True) + drift).astype("<f4")}

    service: Any = Counted({})  # type: ignore[abstract]
    inputs = {
        "tokens": ("INT64", ("batch", "sequence"), {"low": 3, "high": 6}),
        "lengths": ("INT64", ("batch",), {"lengths_of": "sequence", "optional": True}),
    }
    outputs = {"sum": ("FP32", ("batch", ("sum", 1)))}
    service.models["count"] = FakeModel(inputs, outputs, service.compute, {"batch_invariant": "true"})
    with serving(service) as address:
        service.address = address
        yield service


def test_any_model_is_asked_and_its_answers_agree_with_their_first(load, counted):
    status, output, errors = load(*QUICK, "--batch", "2", "--length", "1:5", url=counted.address)
    assert status == 0, errors
    tokens = np.concatenate([tensors["tokens"].ravel() for tensors in counted.asked])
    assert set(tokens.tolist()) == {0, 3, 4, 5}, "0 is padding"
    assert "agree with the golden ones" in output or "no request was answered twice" in output


def test_answers_that_depend_on_traffic_are_counted_and_fail(load, counted, tmp_path):
    np.savez(tmp_path / "one.npz", tokens=[[3, 4]])
    words = [*QUICK, "--arrivals", "constant", "--inputs", str(tmp_path / "one.npz")]
    status, output, _ = load(*words, url=counted.address)
    assert status == 0
    assert "answers: those to all 30 rows agree with the golden ones" in output, "the first one was in the warm-up"
    counted.asked.clear()
    counted.drift = 1e-3
    status, output, _ = load(*words, "--json", "-", url=counted.address)
    assert status == 1
    (point,) = json.loads(output)["points"]
    assert point["answers"] == {"compared": 30, "different": 30}
    assert point["labels"] == {"checked": 0, "wrong": 0}
    assert load(*words, "--no-check", url=counted.address)[0] == 0


def test_samples_may_hold_the_answers(load, counted, tmp_path):
    words = [*QUICK, "--arrivals", "constant", "--batch", "1:2", "--inputs", str(tmp_path / "samples.npz")]
    for wrong, expected in ((0, 0), (1, 1)):
        np.savez(tmp_path / "samples.npz", tokens=[[3, 4], [5, 5]], sum=[[7.0], [10.0 + wrong]])
        assert load("count", *words, url=counted.address)[0] == expected
    assert {tuple(row) for tensors in counted.asked for row in tensors["tokens"].tolist()} == {(3, 4), (5, 5)}


@pytest.fixture
def policies():
    """A server of a model of single steps that adds them up, of one without states, and after `drift_after` wrong."""

    class Policies(FakeModels):
        drift_after: int = 1000
        address = ""

        def compute(self, tensors):
            memory = tensors["memory"] + tensors["observation"]
            return {"action": memory.sum(axis=1, keepdims=True) + (len(self.asked) > self.drift_after), "next": memory}

    service: Any = Policies({})  # type: ignore[abstract]
    pair = ("FP32", ("batch", ("features", 2)))
    inputs = {"observation": pair, "memory": pair}
    outputs = {"action": ("FP32", ("batch", ("actions", 1))), "next": (*pair, {"continues_as": "memory"})}
    service.models["policy"] = FakeModel(inputs, outputs, service.compute, {"batch_invariant": "true"})
    service.models["stateless"] = FakeModel({"observation": pair}, {"action": pair}, service.compute)
    with serving(service) as address:
        service.address = address
        yield service


SESSIONS = ["--sessions", "2", "--think", "5ms", "--steps", "4", "--duration", "0.3", "--warmup", "0"]


def test_sessions_carry_their_states_and_repeat_their_answers(load, policies, tmp_path):
    words = ["--json", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html")]
    status, output, errors = load(*SESSIONS, *words, url=policies.address)
    assert status == 0, errors
    assert output.startswith("sessions  answers/s")
    assert "agree with the golden ones" in output
    begun = [tensors for tensors in policies.asked if not tensors["memory"].any()]
    assert 2 <= len(begun) < len(policies.asked)  # `stateless` was not asked, and sessions began anew
    (point,) = json.loads((tmp_path / "r.json").read_text())["points"]
    assert (point["sessions"], point["think_seconds"]) == (2, 0.005)
    assert point["answers"]["compared"] == point["answered"] - 8  # those of the first time are the golden ones
    assert "sessions of 4 steps, the next 5.00 ms after an answer" in (tmp_path / "r.html").read_text()


def test_sessions_whose_answers_change_fail(load, policies):
    policies.drift_after = 12
    status, output, _ = load(*SESSIONS, "policy", url=policies.address)
    assert status == 1
    assert "rows have other answers than the golden ones" in output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stateless", *SESSIONS], "model stateless has no states, so that it has no sessions"),
        ([*SESSIONS, "--inputs", "x.npz"], "--inputs has whole sequences, and --sessions draws points"),
        (["--think", "5ms"], "--think is for sessions: give their number, --sessions 1"),
        (["--steps", "5", "--closed", "1"], "--steps is for sessions"),
    ],
)
def test_what_sessions_cannot_do_is_one_line(load, policies, words, said):
    status, output, errors = load(*words, url=policies.address)
    assert (status, output) == (1, "")
    assert errors.startswith("rnnserve load: ")
    assert said in errors
    assert errors.count("\n") == 1


def test_sessions_need_a_model_that_has_them(load, policies):
    del policies.models["policy"]
    status, _, errors = load(*SESSIONS, url=policies.address)
    assert (status, errors) == (
        1, "rnnserve load: none of the models that are ready has sessions: stateless\n"
    )  # fmt: skip


def test_samples_are_for_one_model(load, walks, tmp_path):
    walks.ready = ("walks", "others")
    status, _, errors = load(*QUICK, "--inputs", str(tmp_path / "samples.npz"))
    assert (status, errors) == (1, "rnnserve load: --inputs: the rows are for one model; name one of walks, others\n")
    _, _, errors = load("walks", *QUICK, "--inputs", str(tmp_path / "samples.npz"))
    assert errors == f"rnnserve load: {tmp_path / 'samples.npz'}: cannot be read (No such file or directory)\n"


def test_generators_share_a_load(measured, walks):
    status, point = measured(*QUICK, "--processes", "2", "--connections", "2", "--arrivals", "constant")
    assert status == 0
    assert point["sent"] == 30
    assert len(point["generator_cpu"]) == 2
    assert len({request.SerializeToString() for request in walks.requests}) > 20


def test_a_closed_loop_sends_what_it_may(measured, walks):
    status, point = measured("--closed", "3", "--duration", "60", "--warmup", "0", "--max-requests", "25")
    assert status == 0
    assert (point["closed"], point["rate"], point["sent"], point["cut_short"]) == (3, None, 25, True)
    assert len(walks.requests) == 25


def test_an_open_loop_is_cut_short_too(measured):
    _, point = measured("--rate", "200", "--duration", "60", "--warmup", "0", "--max-requests", "20")
    assert (point["sent"], point["cut_short"]) == (20, True)


def test_an_objective_that_no_rate_holds_fails(load):
    status, output, _ = load("--rate", "20,40", "--duration", "0.2", "--warmup", "0", "--slo", "p50=1us")
    assert status == 1
    assert "p50=1us does not hold, not even at 20 requests/s" in output


def test_without_rates_an_objective_is_searched_for(load, walks):
    walks.failure = (grpc.StatusCode.UNAVAILABLE, "no")
    status, output, errors = load("--slo", "p99=5s", "--duration", "0.05", "--warmup", "0")
    assert status == 1
    assert errors.count("requests/s") > 3
    assert "does not hold, not even at 1 requests/s" in output


def test_all_models_that_are_ready_are_asked_unless_some_are_named(load, walks):
    walks.ready = ("walks", "others")
    _, output, _ = load(*QUICK)
    assert {request.model_name for request in walks.requests} == {"walks", "others"}
    assert "  others" in output
    walks.requests.clear()
    load("others", *QUICK)
    assert {request.model_name for request in walks.requests} == {"others"}


def test_batch_sizes_are_told_where_the_server_tells(measured, walks):
    assert "batches" not in measured(*QUICK)[1]
    walks.requests.clear()
    walks.statistics = True
    _, point = measured(*QUICK, "--arrivals", "constant")
    assert point["batches"] == {"1": 40}


def test_a_report_is_written(load, tmp_path, walks):
    walks.statistics = True
    status, _, _ = load(
        "--sweep",
        "50:100:50",
        "--duration",
        "0.2",
        "--html",
        str(tmp_path / "r.html"),
        "--json",
        str(tmp_path / "r.json"),
    )
    assert status == 0
    assert (tmp_path / "r.html").read_text().count("<svg") == 6
    assert [point["rate"] for point in json.loads((tmp_path / "r.json").read_text())["points"]] == [50, 100]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing"], 'no model "missing"'),
        (["walks", "walks"], "walks comes twice"),
        (["walks=x"], "expected NAME or NAME=WEIGHT"),
    ],
)
def test_mistakes_are_one_line(load, words, said):
    status, output, errors = load(*words, *QUICK)
    assert (status, output) == (1, "")
    assert len(errors.splitlines()) == 1
    assert said in errors


def test_a_report_that_cannot_be_written_is_a_mistake(load, tmp_path):
    status, output, errors = load(*QUICK, "--html", str(tmp_path / "nowhere" / "r.html"))
    assert status == 1
    assert output  # the table, which would otherwise be lost
    assert "cannot be written" in errors


def test_no_server_at_the_address(load):
    status, _, errors = load(*QUICK, "--timeout", "1", url="127.0.0.1:1")
    assert status == 1
    assert errors.startswith("rnnserve load: no server answers at 127.0.0.1:1: start one with `make serve`")


def test_over_tls_with_a_client_certificate(load, walks, tmp_path):
    files = write_certificates(tmp_path)
    trust = ["--tls-ca", str(files.ca)]
    shown = ["--tls-certificate", str(files.client), "--tls-key", str(files.key(files.client))]
    with serving(walks, files.server_credentials(files.server, mutual=True)) as address:
        status, output, _ = load(*QUICK, "--arrivals", "constant", *trust, *shown, url=f"grpcs://{address}")
        assert status == 0
        assert "labels: all 30 are as expected" in output
        walks.requests.clear()
        for scheme, words, lesson in (
            ("grpc", [], f"the server speaks TLS: use grpcs://{address}"),
            ("grpcs", trust, "the server asks for a client certificate: give tls_certificate and tls_key"),
        ):
            status, output, errors = load(*QUICK, *words, url=f"{scheme}://{address}")
            assert (status, output) == (1, "")
            assert errors.startswith(f"rnnserve load: {scheme}://{address}: {lesson}")
            assert errors.count("\n") == 1
    assert walks.requests == []


@pytest.mark.parametrize(
    "words",
    [
        ["--rate", "0"],
        ["--sweep", "1:2"],
        ["--closed", "0"],
        ["--rate", "1", "--closed", "1"],
        ["--sessions", "1", "--closed", "1"],
        ["--sessions", "0"],
        ["--sessions", "1", "--think", "5"],
        ["--sessions", "1", "--steps", "0"],
        ["--slo", "p99"],
        ["--length", "0"],
        ["--duration", "0"],
        ["--arrivals", "sometimes"],
    ],
)
def test_a_wrong_command_line(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["load", *words])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("rnnserve load: error: ")


def test_a_generator_that_dies_is_no_result(address, spec):
    with ExitStack() as stack:
        fleet = stack.enter_context(GeneratorProcesses(LoadTarget(Endpoint(address)), spec()))
        fleet._processes[0].kill()
        fleet._processes[0].join()
        with pytest.raises((ClientError, ConnectionError)):
            fleet.run(LoadLevel(rate=10, duration=0.1), lambda *_: None)


def test_generators_say_why_they_cannot_connect(spec):
    with (
        GeneratorProcesses(LoadTarget(Endpoint("127.0.0.1:1")), spec()) as fleet,
        pytest.raises(Unavailable, match="no server answers"),
    ):
        fleet.run(LoadLevel(rate=10, duration=0.1, timeout=0.5), lambda *_: None)


def test_ctrl_c_shows_what_was_measured(address):
    # What runs in the background of a shell that is no terminal's ignores SIGINT, and so does all that it starts.
    as_in_a_terminal = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [as_in_a_terminal, "import sys", "from rnnserve.cli import main", "sys.exit(main())"]
    words = ["load", "--url", address, "--rate", "20,10", "--duration", "1", "--warmup", "0"]
    with subprocess.Popen(
        [sys.executable, "-c", "; ".join(command), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr.readline().startswith("[1/2] 20 requests/s")
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert output.splitlines()[1].startswith("20 ")


def test_a_server_that_does_not_start_is_told(tmp_path):
    with pytest.raises(Unavailable, match="ended before it was ready"), serve_repository(tmp_path / "nowhere"):
        pass


def test_the_report_needs_its_extra_and_says_so_before_any_load(load, walks, monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith("rnnserve.client.load.report")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, output, errors = load(*QUICK, "--html", str(tmp_path / "r.html"))
    assert (status, output) == (1, "")
    assert errors == "rnnserve load: --html needs the package matplotlib: pip install 'rnnserve[report]'\n"
    assert walks.requests == []


@pytest.mark.parametrize(("options", "imported"), [([], False), (["--html", "r.html"], True)])
def test_only_html_imports_matplotlib_and_jinja(address, tmp_path, options, imported):
    code = (
        "import sys; from rnnserve.cli import main; status = main(sys.argv[1:])\n"
        "print('IMPORTED', sorted({'matplotlib', 'matplotlib.pyplot', 'jinja2'} & set(sys.modules))); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, "load", "--url", address, "--rate", "50", "--duration", "0.1", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == f"IMPORTED {['jinja2', 'matplotlib'] if imported else []}"
