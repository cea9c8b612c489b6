"""Run a suite once to see which tests reach which mutant, and then those tests with each mutant."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from campaigns.mutants.mutant import Mutant

_HOOK = Path(__file__).with_name("hook")
_ARTIFACT_AREAS = ("cli", "common", "export", "models", "protos")
"""A change in these may change the classifiers that the tests keep between runs, which are then made anew."""

_FIRST = 12
"""Tests that run first."""


class Reach:
    """Which tests reach each mutant, and what each test takes.

    Attributes:
        tests: What `recording` noted of each test, by node id.
        by_mutant: Node ids by the mutant's number.
    """

    def __init__(self, tests: dict[str, dict[str, object]], hits: list[tuple[int, str]]) -> None:
        self.tests = tests
        users: dict[str, set[str]] = defaultdict(set)
        for name, test in tests.items():
            users[name].add(name)
            for fixture in test["fixtures"]:  # type: ignore[attr-defined]
                users[fixture].add(name)
        self.by_mutant: dict[int, set[str]] = defaultdict(set)
        for number, context in hits:
            self.by_mutant[number] |= users[context]

    @property
    def failing(self) -> list[str]:
        """Tests that fail without a mutant, and so can't notice one."""
        return sorted(name for name, test in self.tests.items() if test.get("failed"))

    def plan(self, mutant: Mutant, seconds: float) -> list[str]:
        """Tests that reach the mutant, as many as fit in the time: first those of its own folder, then quick ones."""
        names = self.by_mutant[mutant.number] - set(self.failing)
        by_file: dict[str, list[str]] = defaultdict(list)
        for name in sorted(names, key=self._cost):
            by_file[name.partition("::")[0]].append(name)
        folders = [part for part in Path(mutant.file).with_suffix("").parts if part != "rnnserve"]

        def rank(file: str) -> tuple[int, float]:
            words = set(Path(file).with_suffix("").parts) | set(Path(file).stem.split("_"))
            return -len(words & {*folders, *folders[-1].split("_")}), sum(map(self._cost, by_file[file][:3]))

        planned: list[str] = []
        # A few tests of each file first: a mutant that many files reach is mostly killed at once.
        files = [by_file[file] for file in sorted(by_file, key=rank)]
        for name in [name for group in files for name in group[:3]] + [name for group in files for name in group[3:]]:
            seconds -= self._cost(name)
            if seconds < 0 and planned:
                break
            planned.append(name)
        return planned

    def _cost(self, name: str) -> float:
        # CPU time, since other work beside the recording makes tests longer. Some wait rather than compute.
        cpu, seconds = (float(str(self.tests[name].get(key, 0.0))) for key in ("cpu", "seconds"))
        return cpu + 0.05 + 0.1 * max(seconds - cpu, 0.0)


def _environment(root: Path, **extra: str) -> dict[str, str]:
    environment = os.environ | extra
    environment["PYTHONPATH"] = os.pathsep.join([str(_HOOK), str(root / "tests"), str(_HOOK.parents[2])])
    return environment


def record(root: Path, arguments: list[str], work: Path) -> Reach:
    """Run these tests once without a mutant.

    Raises:
        RuntimeError: If they can't be run.
    """
    for name in ("hits", "tests"):
        (work / name).mkdir(parents=True, exist_ok=True)
    environment = _environment(root, MUTANT_HITS=str(work / "hits"), MUTANT_TESTS=str(work / "tests"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "campaigns.mutants.recording", *arguments]
    with (work / "record.log").open("wb") as log:
        status = subprocess.run(command, cwd=root, env=environment, stdout=log, stderr=log, check=False).returncode
    if status not in (0, 1):
        raise RuntimeError(f"pytest ended with {status}: {(work / 'record.log').read_text()[-4000:]}")
    return read_reach(work)


def read_reach(work: Path) -> Reach:
    """What `record` left in the folder."""
    tests: dict[str, dict[str, object]] = {}
    for path in (work / "tests").iterdir():
        tests |= json.loads(path.read_text())
    hits = []
    for path in (work / "hits").iterdir():
        for line in path.read_text().splitlines():
            number, context = line.split("\t")
            hits.append((int(number), context))
    return Reach(tests, hits)


def judge(root: Path, mutant: Mutant, tests: list[str], seconds: float, log: Path) -> tuple[str, str]:
    """Run these tests with the mutant: ("killed", the first test that fails), ("survived", ""), or ("slow", "").

    The caller chooses the time: a multiple of what the tests take without the mutant, so "slow" mostly means a hang.
    """
    verdict, by = "unreached", ""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        cache = root / ".pytest_cache"
        if mutant.file.startswith(_ARTIFACT_AREAS):
            trained = cache / "d" / "artifacts" / "checkpoints"
            cache = Path(folder) / "cache"
            if trained.exists() and mutant.file.startswith(("export", "protos")):
                shutil.copytree(trained, cache / "d" / "artifacts" / "checkpoints")
        # Collecting hundreds of files takes longer than the first tests, which kill most mutants.
        for some in filter(None, (tests[:_FIRST], tests[_FIRST:])):
            verdict, by = _judge(root, mutant, some, seconds, log, Path(folder), cache)
            if verdict != "survived":
                break
    return verdict, by


def _judge(
    root: Path, mutant: Mutant, tests: list[str], seconds: float, log: Path, folder: Path, cache: Path
) -> tuple[str, str]:
    names = folder / "tests.txt"
    names.write_text("\n".join(tests))
    environment = _environment(root, MUTANT_NUMBER=str(mutant.number))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "campaigns.mutants.recording"]
    command += ["-o", f"cache_dir={cache}", f"--basetemp={folder}/tmp", "--no-header", "--tb=line", f"@{names}"]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=root, env=environment, stdout=output, stderr=output, start_new_session=True
        ) as process,
    ):
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return "slow", ""
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if status == 0:
        return "survived", ""
    said = log.read_text(errors="replace")
    if "(no match in any of" in said:
        raise RuntimeError(f"tests have other names than when they were recorded: {said[-2000:]}")
    failed = [line for line in said.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return "killed", failed[0].split(" - ")[0] if failed else f"status {status}"


def now() -> float:
    """Seconds, for durations."""
    return time.monotonic()
