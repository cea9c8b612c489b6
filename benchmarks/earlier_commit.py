"""This server as an earlier commit has it, measured beside the other peers: `python -m benchmarks --peer COMMIT`.

It runs with the versions of its own `constraints.txt`, in an environment of its own, and with models that its own code
made: it is what stood at that time. (`--against COMMIT` compares the code alone, with this environment's packages.)
"""

import dataclasses
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks import servers
from benchmarks.environments import Environment
from benchmarks.preparation import make_models_of_tree
from benchmarks.requests import BenchmarkRequest
from benchmarks.scenarios import Scenario
from benchmarks.server_names import FAST_PATH, server_of_commit
from benchmarks.server_processes import ServerProcess
from benchmarks.source_trees import SourceTree, unpack_commit

__all__ = ["EarlierCommit", "prepare_earlier_commit"]


@dataclasses.dataclass(frozen=True)
class EarlierCommit:
    """A commit whose server is measured.

    Attributes:
        tree: Its files, with the interpreter of its environment.
        models: Its models by the names of `preparation.make_models_of_tree`.
    """

    tree: SourceTree
    models: Mapping[str, Path]

    @property
    def server(self) -> str:
        """The name of its server in tables."""
        return server_of_commit(self.tree.name)

    def names_in(self, scenario: Scenario, names: list[str]) -> list[str]:
        """Return the names of a scenario's servers with its own beside ours; without, where it lacks the model.

        Requests of sequences came later than the commits that lack a model, so a scenario with steps is left out.
        """
        if FAST_PATH not in names or self.missing(scenario) is not None:
            return names
        at = names.index(FAST_PATH) + 1
        return [*names[:at], self.server, *names[at:]]

    def missing(self, scenario: Scenario) -> str | None:
        """Say why it is not measured in a scenario; None where it is."""
        if scenario.load.steps:
            return "only models for requests by themselves are made with its code"
        if not all((folder / scenario.model).is_dir() for folder in self.models.values()):
            return f"its code makes no model {scenario.model}"
        return None

    def start_server(
        self, server: str, repository: Path, model: str, work: Path, request: BenchmarkRequest
    ) -> AbstractContextManager[ServerProcess]:
        """Start a server as `servers.start_server` does, or this commit's if the name is its own."""
        if server != self.server:
            return servers.start_server(server, repository, model, work, request)
        return servers.start_server_from_tree(server, self.tree, self.models[repository.name], model, work)


def prepare_earlier_commit(root: Path, commit: str, work: Path) -> EarlierCommit:
    """Unpack a commit, make its environment and its models, unless they are there.

    Raises:
        UnknownCommit: If the repository does not contain the commit.
        MissingDependency: If its packages cannot be installed.
        BenchmarkError: If its models cannot be made.
    """
    tree = unpack_commit(root, commit, work / "commits")
    environment = Environment(
        work / f"venv-{tree.name}",
        ("--constraint", str(tree.root / "constraints.txt"), f"{tree.root}[server]"),
        f"the server of {tree.name}",
    )
    environment.ensure()
    return EarlierCommit(dataclasses.replace(tree, python=str(environment.python)), make_models_of_tree(tree, work))
