"""The tests that may notice a change of a line, quickest first."""

import ast
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import coverage

__all__ = ["TestsByLine"]


class TestsByLine:
    """What `tracing` recorded.

    Attributes:
        failing: Node ids of the tests that fail without a mutant, and so cannot notice one.
        seconds: How long each other test took, by its node id.
    """

    __test__ = False

    def __init__(self, data_file: Path, tests_file: Path, root: Path) -> None:
        tests = json.loads(tests_file.read_text())
        self.failing = [name for name, test in tests.items() if test.get("failed")]
        self.seconds: dict[str, float] = {
            name: test["seconds"] for name, test in tests.items() if name not in self.failing
        }
        self._root = root
        self._data = coverage.CoverageData(str(data_file))
        self._data.read()
        self._users = defaultdict(set)
        for name, test in tests.items():
            for fixture in test["fixtures"]:
                self._users[f"fixture {fixture}"].add(name)

    def tests_of(self, file: str, line: int) -> list[str]:
        """Node ids of the tests that a change of this line may fail. Files stay together: their tests share fixtures.

        These are the tests that run the line. A line outside functions runs once, in whichever test imports the file
        first, and its value may be used by all tests that run any line of the file.
        """
        path = self._root / file
        contexts = self._data.contexts_by_lineno(str(path))
        function = _innermost_function(path.read_text(), line)
        if function is None:
            names = self._names(contexts, contexts)
        else:
            # Of a statement over several lines only some have a record.
            names = self._names(contexts, [line]) or self._names(contexts, function)
        by_file: dict[str, list[str]] = defaultdict(list)
        for name in sorted(names, key=self.seconds.__getitem__):
            by_file[name.partition("::")[0]].append(name)
        files = sorted(by_file.values(), key=lambda names: sum(self.seconds[name] for name in names))
        return [name for names in files for name in names]

    def _names(self, contexts: dict[int, list[str]], lines: Iterable[int]) -> set[str]:
        names: set[str] = set()
        for context in {context for line in lines for context in contexts.get(line, [])}:
            names |= self._users[context] if context.startswith("fixture ") else {context}
        return names & self.seconds.keys()


def _innermost_function(code: str, line: int) -> range | None:
    """The lines of the body of the function that holds this line, or None outside of functions."""
    bodies = [
        range(node.body[0].lineno, (node.end_lineno or 0) + 1)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return min((body for body in bodies if line in body), key=len, default=None)
