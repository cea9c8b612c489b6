"""`make conformance`: try the server with the clients that people have, and print what works."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.environments import Environment
from benchmarks.errors import MissingDependency
from campaigns.conformance.clients import CLIENTS, Client
from campaigns.conformance.document import SCHEMATHESIS, DocumentRun, run_schemathesis
from campaigns.conformance.features import FEATURES, HTTP_FEATURES
from campaigns.conformance.http_clients import HTTP_CLIENTS
from campaigns.conformance.outcomes import Kind, Outcome
from campaigns.conformance.running import run_program
from campaigns.conformance.served import publish_models, serve_all
from campaigns.conformance.table import merge_transports, render_table

_TRANSPORTS = ("fast path", "plain", "native")
_ALL = (*CLIENTS, *HTTP_CLIENTS)
_DOCUMENT = "schemathesis"

_EPILOG = """\
Each client has an environment of its own under .venv-conformance, made once, from PyPI, npm or Debian's packages. One
that cannot be made is skipped, with the reason. The servers under test are `rnnserve serve` on free ports of 127.0.0.1.

exit status: 0 where nothing FAILED, 1 where something did, 2 for a mistake in the command line
"""


def main() -> int:
    args = _parse_arguments()
    if args.list:
        for client in _ALL:
            print(f"{client.name:24} {client.title}".replace("\\", ""))
        print(f"{_DOCUMENT:24} the OpenAPI document against what the server answers")
        return 0
    chosen = [client for client in _ALL if not args.client or client.name in args.client]
    commands, skipped = _prepare(chosen)
    has_document = (not args.client or _DOCUMENT in args.client) and _is_there(SCHEMATHESIS, _DOCUMENT)

    found: dict[str, dict[str, dict[str, Outcome]]] = {client.name: {} for client in chosen}
    documents: dict[str, DocumentRun] = {}
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        work = Path(folder)
        _say("publishing the models")
        answers = publish_models(work / "repository", work / "checkpoints")
        for transport in args.transport or _TRANSPORTS:
            (work / transport).mkdir()
            with serve_all(work / "repository", answers, transport, work / transport) as plan:
                for client in chosen:
                    if client.name in commands:
                        _say(f"{client.name}, {transport}")
                        found[client.name][transport] = run_program(
                            commands[client.name], plan, client.lacks, features=client.features
                        )
                if has_document:
                    _say(f"{_DOCUMENT}, {transport}")
                    documents[transport] = run_schemathesis(plan)

    columns = {client.name: _column(client, found[client.name], skipped) for client in chosen}
    for features in (FEATURES, HTTP_FEATURES):
        some = [client for client in chosen if client.features is features]
        if some:
            titled = {client.title: columns[client.name] for client in some}
            versions = {client.title: client.environment.version() for client in some if client.name in commands}
            print(render_table(titled, versions, features), end="\n\n")
    for transport, run in documents.items():
        print(f"{_DOCUMENT}, {transport}: {'works' if run.holds else 'FAILED'}: {run.words}")
    kinds = [outcome.kind for outcomes in columns.values() for outcome in outcomes.values()]
    _say(", ".join(f"{kinds.count(kind)} {kind.value}" for kind in Kind))
    return 1 if Kind.FAILED in kinds or not all(run.holds for run in documents.values()) else 0


def _prepare(chosen: Sequence[Client]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Make environments; gives commands, and reasons why there is none, by the clients' names."""
    commands, skipped = {}, {}
    for client in chosen:
        try:
            commands[client.name] = client.environment.prepare()
        except MissingDependency as error:
            skipped[client.name] = str(error)
            _say(f"{client.name}: skipped, since {error}")
    return commands, skipped


def _is_there(environment: Environment, name: str) -> bool:
    """Make an environment; say it where it cannot be made."""
    try:
        environment.ensure()
    except MissingDependency as error:
        _say(f"{name}: skipped, since {error}")
        return False
    return True


def _column(client: Client, by_transport: dict[str, dict[str, Outcome]], skipped: dict[str, str]) -> dict[str, Outcome]:
    if client.name in skipped:
        return {feature.name: Outcome(Kind.SKIPPED, skipped[client.name]) for feature in client.features}
    return merge_transports(by_transport)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m campaigns.conformance",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [*(client.name for client in _ALL), _DOCUMENT]
    parser.add_argument(
        "--client", action="append", choices=names, metavar="NAME", help="only this one; may be repeated"
    )
    parser.add_argument("--transport", action="append", choices=_TRANSPORTS, help="only this one (default: all)")
    parser.add_argument("--list", action="store_true", help="list the clients, and try none")
    return parser.parse_args()


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
