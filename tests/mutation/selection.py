"""The tests that run a line, quickest first."""

import json
from collections import defaultdict
from pathlib import Path

import coverage

__all__ = ["TestsByLine"]


class TestsByLine:
    """What `tracing` recorded.

    Attributes:
        seconds: How long each test took, by its node id.
    """

    __test__ = False

    def __init__(self, data_file: Path, tests_file: Path, root: Path) -> None:
        tests = json.loads(tests_file.read_text())
        self.seconds: dict[str, float] = {name: test["seconds"] for name, test in tests.items()}
        self._root = root
        self._data = coverage.CoverageData(str(data_file))
        self._data.read()
        self._users = defaultdict(set)
        for name, test in tests.items():
            for fixture in test["fixtures"]:
                self._users[f"fixture {fixture}"].add(name)

    def tests_of(self, file: str, line: int) -> list[str]:
        """Node ids of the tests that run this line. Files stay together, since their tests share fixtures."""
        names: set[str] = set()
        for context in self._data.contexts_by_lineno(str(self._root / file)).get(line, []):
            names |= self._users[context] if context.startswith("fixture ") else {context}
        by_file: dict[str, list[str]] = defaultdict(list)
        for name in sorted(names & self.seconds.keys(), key=self.seconds.__getitem__):
            by_file[name.partition("::")[0]].append(name)
        files = sorted(by_file.values(), key=lambda names: sum(self.seconds[name] for name in names))
        return [name for names in files for name in names]
