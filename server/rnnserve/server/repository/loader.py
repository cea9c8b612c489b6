"""Loads models: decides when to check which version, and records the outcome.

A load check runs each version in another process first (`load_checks`). Models wait in one queue. For each model, the
newest version comes first, one at a time, until its config's number of versions serves. The server loads a version
after its check has passed, while the next check runs. While others wait, a check has one second. A slower version is
checked again after all others, with the full time limit, so it doesn't keep other versions from serving.

A version that fails doesn't serve, and its status has the reason. Versions that served before keep serving until all
versions of their model are done. If no version of a model serves yet, the model serves as soon as one version has
passed.
"""

import dataclasses
import logging
import time
from collections import deque
from collections.abc import Iterable
from concurrent import futures
from pathlib import Path

from rnnserve.protos import model_config_pb2
from rnnserve.protos.artifact import ArtifactError, read_version
from rnnserve.protos.signing.signed_version import Signed
from rnnserve.protos.triton_config import CONFIG, check_tensors, read_config, versions_to_serve
from rnnserve.server.counting.places import LOADED, NOT_LOADED
from rnnserve.server.counting.table import count_in_process, used_table
from rnnserve.server.errors import StartError, one_line
from rnnserve.server.repository.findings import Findings, LoadCheck
from rnnserve.server.repository.folders import version_numbers
from rnnserve.server.repository.load_checks import LoadChecks, Refused, Stopped, TooSlow, check_name
from rnnserve.server.repository.load_version import load_model
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.repository import LOADING, READY, UNAVAILABLE, Entry, Repository, ServedVersion, Status
from rnnserve.server.repository.signed_versions import open_signature_gate
from rnnserve.server.settings import Settings

__all__ = ["Loader", "Outcome"]

_log = logging.getLogger(__name__)

_FIRST_SECONDS = 1.0
"""Seconds that a load check may take while other versions wait for theirs. Small models take 0.01 to 0.1 seconds."""

_PATIENCE_SECONDS = 3.0
"""Seconds without a further version that serves after which a start doesn't wait for the rest. Beyond it: they are
loaded in the background."""

_LOOK_SECONDS = 0.1  # between two looks at whether the start still waits

_MAX_REASON = 1000
"""Characters of a reason why a version does not serve, without paths: it is sent to clients, in a list with those of
all other versions. Beyond it: the rest is cut."""


@dataclasses.dataclass
class Outcome:
    """What came of a load."""

    faults: list[str] = dataclasses.field(default_factory=list)  # one line for each version that should serve but can't
    error: StartError | None = None  # why no further version could be checked
    is_whole: bool = False  # whether all due checks were made


class _Draft:
    """A model during its load: its future versions (`entry`) and the versions that serve now (`before`)."""

    def __init__(self, name: str, folder: Path, before: Entry | None) -> None:
        self.name = name
        self.folder = folder
        self.before = before or Entry({}, is_needed=False)
        self.entry = Entry({}, is_needed=self.before.is_needed)
        self.to_check: deque[int] = deque()  # versions, newest first
        self.wanted = 0  # how many of its versions are to serve
        self.config = model_config_pb2.ModelConfig()
        # For each version, its signature or why it must not serve. None if signatures aren't required.
        self.signed: dict[int, Signed | ArtifactError] | None = None

    @property
    def newest(self) -> list[int]:
        """The numbers of the versions that will serve, newest first."""
        return sorted(self.entry.served, reverse=True)

    def signature(self, version: int) -> Signed | None:
        """Return who has signed what of a version. Raise ArtifactError if it is not signed as it must be."""
        signed = None if self.signed is None else self.signed[version]
        if isinstance(signed, ArtifactError):
            raise signed
        return signed

    def leave_out(self, version: int, reason: str) -> None:
        """Let a version not serve, though nothing is wrong with it."""
        self.entry = self.entry.with_version(version, Status(UNAVAILABLE, reason))

    def refuse(self, version: int, reason: str) -> None:
        """Refuse a version. If an older version of the same number serves, it keeps serving."""
        served = self.before.served.get(version)
        if served is None:
            status = Status(UNAVAILABLE, reason, is_fault=True)
        else:
            status = Status(READY, f"was loaded before; what its folder holds now: {reason}")
        self.entry = self.entry.with_version(version, status, served)


@dataclasses.dataclass(frozen=True)
class _Candidate:
    """A version of a model whose turn it is, and the seconds that its check may take."""

    model: _Draft
    version: int
    seconds: float

    @property
    def folder(self) -> Path:
        return self.model.folder / str(self.version)


class Loader:
    """Loads the versions that the configs of models choose. One thread calls `load`, any other one the rest."""

    def __init__(
        self,
        models: Repository,
        checks: LoadChecks,
        device: str,
        settings: Settings,
        *,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        """Prepare without loading. Raise StartError if signatures are required and a key can't be read."""
        self._models = models
        self._checks = checks
        self._device = device
        self._settings = settings
        self._patience = patience
        self._gate = open_signature_gate(settings)
        self._folders = models.folders
        self._served_at = time.monotonic()  # when a version came to serve last
        self._first: futures.Future[Outcome] = futures.Future()  # of the load at the start
        self._reset([])

    def _reset(self, names: Iterable[str]) -> None:
        """Forget the models of the last load, which may be freed, and begin with others."""
        self._outcome = Outcome()
        self._drafts = [_Draft(name, self._folders.of(name), self._models.entry(name)) for name in names]
        self._queue: deque[_Draft] = deque()
        self._slow: deque[_Candidate] = deque()  # those whose first check was too short

    def load(self, names: Iterable[str]) -> Outcome:
        """Load models from their folders while their current versions serve. Raises nothing."""
        self._served_at = time.monotonic()
        self._reset(names)
        outcome = self._outcome
        try:
            for draft in self._drafts:
                self._choose(draft)
            self._load_all()
            outcome.is_whole = True
        except Stopped:
            _log.info("stopping before all versions were loaded")
        except StartError as error:
            outcome.error = error
            self._give_up(error)
        finally:
            self._checks.close()
            self._reset([])
            if not self._models.is_started:
                self._models.is_started = True
                self._first.set_result(outcome)
        return outcome

    def wait(self) -> None:
        """Wait until the first load has ended, or it may be left to go on. Raise StartError if no version may serve."""
        while not futures.wait([self._first], _LOOK_SECONDS).done:
            if time.monotonic() - self._served_at > self._patience and self._models.served():
                return
        outcome = self._first.result()
        if outcome.error is not None:
            raise outcome.error
        if outcome.is_whole and self._models.models() and not self._models.served():
            raise StartError(self._models.why_none())

    def _show(self, draft: _Draft) -> None:
        """Show a model's new entry in the repository, unless its old versions still serve."""
        entry = draft.entry
        if draft.before.served and entry.is_loading:
            versions = {**dict.fromkeys(entry.versions, Status(LOADING)), **draft.before.versions}
            entry = dataclasses.replace(draft.before, versions=versions)
        self._models.put(draft.name, entry)

    def _choose(self, draft: _Draft) -> None:
        """Choose the versions of a model that may serve, and add the model to the queue."""
        try:
            self._read(draft)
        except Exception as error:  # noqa: BLE001 - one model's folder must not keep the others out
            reason = _reason_of(error)
            for version in draft.entry.versions:
                draft.refuse(version, reason)
            draft.entry = dataclasses.replace(draft.entry, reason=reason)
            self._outcome.faults.append(f"{draft.name}: {reason}")
            _log.error("%s: %s", draft.name, reason)
        else:
            self._queue.append(draft)
        self._show(draft)

    def _read(self, draft: _Draft) -> None:
        """Read which versions a model has, and its config."""
        try:
            numbers = version_numbers(draft.folder)
        except OSError as error:
            draft.entry = dataclasses.replace(draft.entry, versions=dict.fromkeys(draft.before.served, Status(LOADING)))
            raise ArtifactError(f"its folder cannot be read: {error.strerror}") from error
        draft.entry = dataclasses.replace(draft.entry, versions=dict.fromkeys(numbers, Status(LOADING)))
        if not numbers:
            raise ArtifactError("has no versions; expected folders named 1, 2, …")

        def verify(config: bytes) -> None:
            if self._gate is not None:
                draft.signed = self._gate.check(draft.folder, draft.name, numbers, config, self._folders.inside)

        draft.config = read_config(draft.folder, self._folders.inside, self._folders.only, verify)
        chosen, draft.wanted = versions_to_serve(draft.config, numbers)
        if not chosen:
            has = ", ".join(map(str, numbers))
            raise ArtifactError(f"{CONFIG}: version_policy does not name any version in the folder; it contains {has}")
        for version in set(numbers) - set(chosen):
            draft.leave_out(version, "not chosen by version_policy in config.pbtxt")
        draft.to_check.extend(chosen)

    def _load_all(self) -> None:
        passed: tuple[_Candidate, Findings] | None = None
        while (candidate := self._next()) is not None or passed is not None:
            if candidate is not None:
                self._checks.begin(self._check_of(candidate))
            if passed is not None:  # the server loads it while the next version is checked
                self._serve(*passed)
                self._go_on_with(passed[0].model)
                passed = None
            if candidate is not None:
                if (findings := self._outcome_of(candidate)) is not None:
                    passed = candidate, findings
                else:
                    self._go_on_with(candidate.model)

    def _next(self) -> _Candidate | None:
        """Take the next version to check, or return None if there is none now."""
        timeout = self._settings.load_timeout
        while self._queue:
            draft = self._queue.popleft()
            version = draft.to_check.popleft()
            is_last = not (self._queue or self._slow or draft.to_check)
            candidate = _Candidate(draft, version, timeout if is_last else min(_FIRST_SECONDS, timeout))
            if self._must_be_checked(candidate):
                return candidate
            self._go_on_with(draft)
        return self._slow.popleft() if self._slow else None

    def _go_on_with(self, draft: _Draft) -> None:
        """Show a model's outcome so far, and queue its further versions."""
        self._show(draft)
        if draft.to_check and draft not in self._queue:
            self._queue.append(draft)

    def _must_be_checked(self, candidate: _Candidate) -> bool:
        """Whether a version may serve and doesn't serve yet. A version that already serves is taken over."""
        draft, version = candidate.model, candidate.version
        newest = draft.newest[: draft.wanted]
        if len(newest) == draft.wanted and version < newest[-1]:
            draft.leave_out(version, "a newer version serves")
            return False
        try:
            signed = draft.signature(version)
            served = draft.before.served.get(version)
            if served is None:
                return True
            files = None if signed is None else signed.files
            found = read_version(candidate.folder, keep=(), inside=self._folders.inside, signed=files).manifest
            if found.self_sha256 != served.model.manifest.self_sha256:
                return True
            check_tensors(draft.config, found.inputs, found.outputs)
        except Exception as error:  # noqa: BLE001 - one version must not keep the others out, whatever its files hold
            self._refuse(candidate, _reason_of(error))
        else:
            self._let_serve(candidate, served.model)
        return False

    def _check_of(self, candidate: _Candidate) -> LoadCheck:
        signed = candidate.model.signature(candidate.version)
        return LoadCheck(
            candidate.folder,
            candidate.model.name,
            str(candidate.version),
            self._device,
            self._settings.graph,
            self._settings.allow_unproven,
            self._settings.threads,
            self._settings.max_load_bytes,
            candidate.seconds,
            inside=self._folders.inside,
            signed=None if signed is None else signed.files,
        )

    def _outcome_of(self, candidate: _Candidate) -> Findings | None:
        """Return a load check's findings, or None if the version is refused or will be checked again."""
        try:
            return self._checks.outcome()
        except Refused as refused:
            self._refuse(candidate, str(refused))
        except TooSlow:
            timeout = self._settings.load_timeout
            if candidate.seconds < timeout:
                self._slow.append(dataclasses.replace(candidate, seconds=timeout))
            else:
                self._refuse(candidate, f"did not load within {timeout:g} s (--load-timeout)")
        return None

    def _serve(self, candidate: _Candidate, findings: Findings) -> None:
        """Load a version that has passed its check, and let it replace an older one."""
        name, version = candidate.model.name, candidate.version
        try:
            allow_non_finite = self._settings.allow_non_finite
            model = load_model(self._check_of(candidate), known=findings, allow_non_finite=allow_non_finite)
            if self._folders.only is None:
                check_name(model.manifest, name)
            check_tensors(candidate.model.config, model.manifest.inputs, model.manifest.outputs)
        except StartError:
            raise
        except Exception as error:  # noqa: BLE001 - one version must not keep the others out, whatever it does
            self._refuse(candidate, _reason_of(error))
            _log.debug("%s version %d", name, version, exc_info=error)
            return
        count_in_process(LOADED)
        ready = "%s version %d is ready on %s, and reproduces its golden results; %s"
        _log.info(ready, name, version, model.device, findings.graph)
        self._let_serve(candidate, model)

    def _let_serve(self, candidate: _Candidate, model: Model) -> None:
        draft, version = candidate.model, candidate.version
        served = ServedVersion(model, draft.config, draft.signature(version))
        draft.entry = draft.entry.with_version(version, Status(READY), served)
        for older in draft.newest[draft.wanted :]:
            draft.leave_out(older, "a newer version serves")
        self._served_at = time.monotonic()
        used_table().tell(draft.name, model.version, model.about)

    def _refuse(self, candidate: _Candidate, said: str) -> None:
        name, version, reason = candidate.model.name, candidate.version, one_line(said, _MAX_REASON)
        count_in_process(NOT_LOADED)
        self._outcome.faults.append(f"{name} version {version}: {reason}")
        candidate.model.refuse(version, reason)
        _log.error("Not serving %s version %d: %s", name, version, reason)

    def _give_up(self, error: StartError) -> None:
        """Mark every remaining version as one that could not be checked."""
        if self._models.served():
            _log.error("loading no further versions: %s", error)
        for draft in self._drafts:
            for version, status in draft.entry.versions.items():
                if status.state == LOADING:
                    draft.refuse(version, "could not be checked; the server's log has the reason")
            self._show(draft)


def _reason_of(error: Exception) -> str:
    """Explain in one line why a load failed. Clients receive the line, so it has no paths."""
    said = str(error) if isinstance(error, ArtifactError) else f"cannot be loaded: {type(error).__name__}: {error}"
    return one_line(said, _MAX_REASON)
