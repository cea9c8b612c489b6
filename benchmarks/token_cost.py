"""What tokens cost: a server that asks for them beside one that does not, which is sent the same header and none."""

from contextlib import ExitStack
from pathlib import Path

from benchmarks import server_names, servers
from benchmarks.answer_check import check_answers
from benchmarks.errors import LoadGeneratorFailed
from benchmarks.load_generators.h2load import run_h2load
from benchmarks.measurement import CPU_METRIC, format_metrics, print_progress, turns
from benchmarks.metrics import Metrics
from benchmarks.requests import encode_request, read_requests
from benchmarks.scenarios import Scenario
from benchmarks.server_processes import ServerProcess, cpu_seconds
from rnnserve.protos.protocol_words import AUTHORIZATION
from rnnserve.server.access.access_file import add_token

__all__ = ["measure_token_cost"]

_NO_HTTP = ("--no-http",)


def measure_token_cost(scenario: Scenario, rounds: int, seconds: float, work: Path) -> dict[str, list[Metrics]]:
    """Start both servers, check the answers of each, and load them in turns.

    Args:
        scenario: The scenario.
        rounds: Number of rounds; in each of them every kind of calls has one turn.
        seconds: Duration of the measurement in a turn.
        work: Folder with the models, and for logs and the file of tokens.

    Returns:
        The metrics of each kind of calls, one entry for each round: with a token that is asked for, with the same that
        is not, and without one.

    Raises:
        BenchmarkError: If a server or the load generator fails, or an answer is wrong.
    """
    repository = work / "models" / "all_outputs"
    requests = read_requests(work / "models" / "answers.npz", scenario.model, scenario.lengths)
    message = encode_request(scenario.model, requests[0])
    folder = servers.folder_of_server(work, server_names.WITH_TOKENS, scenario.model)
    tokens = folder / "tokens.toml"
    tokens.unlink(missing_ok=True)
    headers = {AUTHORIZATION: f"Bearer {add_token(tokens, 'benchmark', 'infer')}"}
    options = {server_names.WITH_TOKENS: ("--tokens", str(tokens)), server_names.FAST_PATH: ()}
    kinds = {
        server_names.WITH_TOKENS: (server_names.WITH_TOKENS, headers),
        server_names.UNASKED_TOKENS: (server_names.FAST_PATH, headers),
        server_names.FAST_PATH: (server_names.FAST_PATH, {}),
    }
    found: dict[str, list[Metrics]] = {name: [] for name in kinds}
    with ExitStack() as stack:
        running: dict[str, tuple[ServerProcess, int]] = {}
        for name, more in options.items():
            print_progress(f"{scenario.name}: starting and checking {name}")
            command = [servers.CONSOLE_SCRIPT, "serve", str(repository), "--grpc-port", "0", *_NO_HTTP, *more]
            log = servers.folder_of_server(work, name, scenario.model).with_suffix(".log")
            process = stack.enter_context(servers.running_rnnserve(name, command, log))
            sent = headers if more else {}
            running[name] = process, check_answers(name, process.port, scenario.model, requests, headers=sent)
        for number, name in turns(list(kinds), rounds):
            server, sent = kinds[name]
            process, response_bytes = running[server]
            process.check_alive()
            before = cpu_seconds(process.pids)
            try:
                done = run_h2load(scenario.load, seconds, process.port, message, response_bytes, work, headers=sent)
            except LoadGeneratorFailed as error:
                raise LoadGeneratorFailed(f"{name}: {error}") from error
            # With those of the warm-up, which is as long for all of them.
            metrics = {**done, CPU_METRIC: 1e6 * (cpu_seconds(process.pids) - before) / done["requests"]}
            found[name].append(metrics)
            print_progress(f"{scenario.name}, round {number} of {rounds}: {name}: {format_metrics(metrics, scenario)}")
    return found
