"""Loading a repository: which version is tried when, and what becomes of it.

Each version is tried in a process of its own first (`trials`), and only if it passes is it loaded in the server. While
one is loaded here, the next one is tried there.

Where there are many versions and several cores, further processes try versions that wait (`early_trials`).

A version that takes long, or for ever, is to keep no other from serving. So each is given a short time first. Those
that take longer are tried again after all others, each time with four times as long, up to the limit
(`--load-timeout`).
"""

import dataclasses
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from rnnserve.protos import model_config_pb2
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.triton_config import check_tensors, read_config
from rnnserve.server.errors import StartError, one_line
from rnnserve.server.repository.early_trials import EARLY_BYTES, VERSIONS_EACH, EarlyTrials
from rnnserve.server.repository.findings import Findings
from rnnserve.server.repository.graph_choice import AUTO, NATIVE, SCANNED, GraphChoice
from rnnserve.server.repository.load_version import load_model
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.repository import LOADING, Repository, ServedVersion
from rnnserve.server.repository.trials import Refused, Stopped, TooSlow, Trials

__all__ = ["LOOK_SECONDS", "Loader"]

_log = logging.getLogger(__name__)

_FIRST_SECONDS = 0.5
"""Seconds that a version may compute in its first trial. Small models take 0.01 to 0.1."""

_BLOCKED = 10
"""How many seconds a trial may take for each that it may compute: files are read, and the machine may be busy."""

_LONGER = 4
"""How many times as long as the last one each further trial is."""

_LOST_SECONDS = 3.0
"""Seconds that versions which do not come to serve may delay the start; then it waits for no further version."""

LOOK_SECONDS = 0.1
"""Seconds between two looks at how long the start has been delayed."""

_MAX_REASON = 1000
"""Characters of a reason: it is sent to clients, in a list with those of all other versions."""


@dataclasses.dataclass(frozen=True)
class _Candidate:
    """A version that may come to serve.

    Attributes:
        name: The model's.
        version: Its number.
        config: The model's config.pbtxt.
        wanted: How many versions of the model are to serve.
        seconds: How long its next trial may compute.
        is_slow: Whether an earlier trial was too short.
        is_early: Whether one of the further processes may try it: not where one has, and found nothing.
    """

    name: str
    version: int
    config: model_config_pb2.ModelConfig
    wanted: int
    seconds: float
    is_slow: bool = False
    is_early: bool = True


class Loader:
    """Loads the versions that the configs of a repository choose. One thread calls `load`, any other the rest.

    Attributes:
        faults: What is wrong with versions that were to serve, a line each; for the thread that calls `load`.
        fault: Why no further version could be tried, or none serves; None where neither is so.
        is_whole: Whether every version that was to be tried was.
        found: What was found of the versions that were loaded, by the model's name and their number.
    """

    def __init__(
        self,
        models: Repository,
        trials: Trials,
        device: str,
        *,
        allow_unproven: bool,
        timeout: float,
        graph: str = AUTO,
        processes: int = 1,
        threads: int = 1,
        allow_non_finite: bool = False,
    ) -> None:
        """Prepare; `load` loads.

        Args:
            models: The repository.
            trials: Tries versions.
            device: "cpu" or "cuda".
            allow_unproven: Serve versions, too, that were adopted from an ONNX file and not proven.
            timeout: Seconds that a version may take to be tried.
            graph: Which graph of a version is to serve, as `Settings.graph`.
            processes: How many processes may try versions at the same time, where there are many.
            threads: Of a run, as `trials` has them.
            allow_non_finite: Give answers that are NaN or infinite.
        """
        self._models = models
        self._trials = trials
        self._device = device
        self._allow_unproven = allow_unproven
        self._timeout = timeout
        self._graph = graph
        self._processes = processes
        self._threads = threads
        self._allow_non_finite = allow_non_finite
        self._candidates: deque[_Candidate] = deque()
        self._early: EarlyTrials[_Candidate] = EarlyTrials(self._further_trials, 0)
        self._busy: set[str] = set()  # models of which a version is tried, or has passed and does not serve yet
        self._lost = 0.0  # seconds spent on versions that did not come to serve
        self._began = time.monotonic()  # when the version that is tried now had its turn
        self._is_known_slow = False  # of that version, whether an earlier trial was too short
        self.faults: list[str] = []
        self.fault: StartError | None = None
        self.is_whole = True
        self.found: dict[tuple[str, int], Findings] = {}
        self._known: Mapping[tuple[str, int], Findings] = {}
        self._is_done = threading.Event()

    def load(self, known: Mapping[tuple[str, int], Findings] | None = None) -> None:
        """Try and load every version that is to serve. Raises nothing: `wait` tells what went wrong.

        Args:
            known: What another server on this machine has found of some versions, which need not be tried again.
        """
        self._known = known or {}
        try:
            for name in self._models.models():
                self._choose(name)
            self._load_all()
            if self._models.models() and not self._models.served():
                self.fault = StartError(self._models.why_none())
        except Stopped:
            self.is_whole = False
            _log.info("stopped before all versions were loaded")
        except StartError as error:
            self.fault = error
            self.is_whole = False
            self._give_up(error)
        finally:
            self._early.close()
            self._trials.close()
            self._is_done.set()

    def wait(self) -> None:
        """Wait until all is loaded; or something serves, and others have delayed the start for `_LOST_SECONDS`.

        Raises:
            StartError: If no version may serve, with the reasons, a line each; or the device cannot be had.
        """
        while not self._is_done.wait(LOOK_SECONDS):
            if self.delays_the_start and self._models.served():
                return
        if self.fault is not None:
            raise self.fault

    @property
    def delays_the_start(self) -> bool:
        """Whether versions that have not come to serve have delayed the start for as long as they may."""
        return self._lost + (time.monotonic() - self._began if self._is_known_slow else 0.0) > _LOST_SECONDS

    def stop(self) -> None:
        """Try no further version. `load` returns when the one that is being loaded, if any, has been."""
        self._trials.stop()

    def _choose(self, name: str) -> None:
        """Add the versions of a model that may serve, newest first."""
        try:
            self._models.found(name)
            self._models.check_links(name)
            config = read_config(self._models.folder(name), self._models.inside)
            chosen, wanted = self._models.chosen(name, config)
        except Exception as error:  # noqa: BLE001 - one model's folder must not keep the others out
            reason = _reason(error)
            self._models.refuse_all(name, reason)
            self.faults.append(f"{name}: {reason}")
            _log.error("%s: %s", name, reason)
            return
        seconds = min(_FIRST_SECONDS, self._timeout)
        self._candidates += [_Candidate(name, version, config, wanted, seconds) for version in chosen]

    def _load_all(self) -> None:
        to_try = sum((candidate.name, candidate.version) not in self._known for candidate in self._candidates)
        further = min(self._processes, to_try // VERSIONS_EACH) - 1
        self._early = EarlyTrials(self._further_trials, max(further, 0))
        candidate = self._begin()
        self._begin_early()
        while candidate is not None or self._early.are_running:
            following = None
            if candidate is not None:
                findings = self._outcome(candidate)
                if findings is not None:
                    following = self._begin()
                    self._serve(candidate, findings)
                self._end(candidate)
            self._serve_early(wait=candidate is None)
            candidate = following or self._begin()
            self._begin_early()

    def _further_trials(self) -> Trials:
        return self._trials.further(EARLY_BYTES)

    def _begin(self) -> _Candidate | None:
        """Begin the trial of the next version that is needed, and give it; None where there is none."""
        self._is_known_slow = False
        candidate = self._next(early=False)
        if candidate is None:
            return None
        if not self._candidates and not self._early.are_running:  # none waits for this one
            candidate = dataclasses.replace(candidate, seconds=self._timeout)
        self._trial_of(candidate)(self._trials)
        self._busy.add(candidate.name)
        self._is_known_slow = candidate.is_slow
        return candidate

    def _begin_early(self) -> None:
        """Let further processes try versions that wait, as many as there is room for."""
        while self._early.has_room:
            candidate = self._next(early=True)
            if candidate is None:
                return
            try:
                self._early.begin(candidate, self._trial_of(candidate))
            except StartError as error:
                _log.warning("versions are tried by fewer processes: %s", error)
                self._candidates.appendleft(candidate)
            else:
                self._busy.add(candidate.name)

    def _serve_early(self, *, wait: bool) -> None:
        """Load the versions that have passed in further processes; all others keep their turn.

        Args:
            wait: Wait until one of these trials has ended, where there are any.
        """
        ended = list(self._early.take(wait=wait))
        for candidate, findings in reversed(ended):
            if findings is None:
                self._end(candidate)
                self._candidates.appendleft(dataclasses.replace(candidate, is_early=False))
        self._begin_early()
        for candidate, findings in ended:
            if findings is not None:
                self._serve(candidate, findings)
                self._end(candidate)

    def _next(self, *, early: bool) -> _Candidate | None:
        """Take the next version that has to be tried from those that wait.

        Args:
            early: One that a further process may try.
        """
        for candidate in tuple(self._candidates):
            # Of a model whose version is about to serve it is not known what else it needs.
            if candidate.name in self._busy or (early and not candidate.is_early):
                continue
            if candidate.is_slow and self._early.are_running:  # what they leave is tried before
                continue
            self._candidates.remove(candidate)
            newest = self._models.newest(candidate.name, candidate.wanted)
            if len(newest) == candidate.wanted and candidate.version < newest[-1]:
                self._models.leave_out(candidate.name, candidate.version, "a newer version serves")
                continue
            if self._take_over(candidate):
                continue
            known = self._known.get((candidate.name, candidate.version))
            if known is not None:
                self._serve(candidate, known)
                continue
            return candidate
        return None

    def _trial_of(self, candidate: _Candidate) -> Callable[[Trials], None]:
        """Give what begins a version's trial in a process."""
        name, version = candidate.name, str(candidate.version)
        folder = self._models.folder(name) / version

        def begin(trials: Trials) -> None:
            trials.begin(
                folder,
                name,
                version,
                self._device,
                graph=self._graph,
                seconds=min(_BLOCKED * candidate.seconds, self._timeout),
                processor_seconds=candidate.seconds,
                inside=self._models.inside,
            )

        return begin

    def _end(self, candidate: _Candidate) -> None:
        """Note that a version's trial has ended, and that it serves if it passed."""
        self._busy.discard(candidate.name)
        now = time.monotonic()
        if candidate.version not in self._models.newest(candidate.name, candidate.wanted):
            self._lost += now - self._began
        self._began = now

    def _take_over(self, candidate: _Candidate) -> bool:
        """Let a version serve on, with the config as it is now, if it serves already; whether nothing is to be loaded.

        One whose files cannot be trusted any more is refused.
        """
        try:
            self._models.check_links(candidate.name, candidate.version)
            model = self._models.loaded_before(candidate.name, candidate.version)
            if model is None:
                return False
            check_tensors(candidate.config, model.manifest.inputs, model.manifest.outputs)
        except Exception as error:  # noqa: BLE001 - one version must not keep the others out, whatever its files hold
            self._refuse(candidate, _reason(error))
        else:
            self._let_serve(candidate, model)
        return True

    def _outcome(self, candidate: _Candidate) -> Findings | None:
        """Wait for the end of a version's trial; None where it does not pass, or not yet."""
        try:
            return self._trials.outcome()
        except Refused as error:
            self._refuse(candidate, str(error))
            if error.traceback:
                _log.debug("%s version %d: %s", candidate.name, candidate.version, error.traceback)
        except TooSlow:
            if candidate.seconds >= self._timeout:
                self._refuse(candidate, f"did not load within {self._timeout:g} s (--load-timeout)")
            else:
                seconds = min(_LONGER * candidate.seconds, self._timeout)
                self._candidates.append(dataclasses.replace(candidate, seconds=seconds, is_slow=True, is_early=False))
                _log.info(
                    "%s version %d did not load within %g s; it is tried again after the others",
                    candidate.name,
                    candidate.version,
                    candidate.seconds,
                )
        return None

    def _serve(self, candidate: _Candidate, findings: Findings) -> None:
        """Load a version that has passed, and let it serve in the place of an older one."""
        name, version, config = candidate.name, candidate.version, candidate.config
        try:
            model = load_model(
                self._models.folder(name) / str(version),
                name,
                str(version),
                self._device,
                allow_unproven=self._allow_unproven,
                allow_non_finite=self._allow_non_finite,
                threads=self._threads,
                inside=self._models.inside,
                known=findings,
            )
            check_tensors(config, model.manifest.inputs, model.manifest.outputs)
            self._models.check_pin(model)
        except StartError:
            raise
        except Exception as error:  # noqa: BLE001 - one version must not keep the others out, whatever it does
            self._refuse(candidate, _reason(error))
            _log.debug("%s version %d", name, version, exc_info=error)
            return
        self.found[name, version] = findings
        _log.info("%s version %d is ready on %s: its golden results hold", name, version, model.device)
        self._tell_graph(candidate, findings.graph)
        self._let_serve(candidate, model)

    def _let_serve(self, candidate: _Candidate, model: Model) -> None:
        """Let a version that holds serve in the place of an older one."""
        name = candidate.name
        self._models.serve(ServedVersion(model, candidate.config))
        for older in self._models.newest(name, candidate.wanted + 1)[candidate.wanted :]:
            self._models.leave_out(name, older, "a newer version serves")

    def _tell_graph(self, candidate: _Candidate, graph: GraphChoice) -> None:
        """Log which graph serves, where there was a choice, and where it is not the one that was asked for."""
        if self._graph == SCANNED and graph.name == NATIVE:
            _log.warning("%s version %d: --graph scan: %s", candidate.name, candidate.version, graph)
        elif graph.name == SCANNED:
            _log.info("%s version %d: %s", candidate.name, candidate.version, graph)

    def _refuse(self, candidate: _Candidate, said: str) -> None:
        reason = one_line(said, _MAX_REASON)
        self.faults.append(f"{candidate.name} version {candidate.version}: {reason}")
        self._models.refuse(candidate.name, candidate.version, reason)
        _log.error("%s version %d stays out: %s", candidate.name, candidate.version, reason)

    def _give_up(self, error: StartError) -> None:
        """Say of every version that is left that it could not be tried."""
        if self._models.served():
            _log.error("no further version is loaded: %s", error)
        for name, versions in self._models.statuses():
            for version, status in versions.items():
                if status.state == LOADING:
                    self._models.refuse(name, version, "could not be tried; the server's log says why")


def _reason(error: Exception) -> str:
    """Say in one line why something cannot be loaded; it is sent to clients, so without paths."""
    said = str(error) if isinstance(error, ArtifactError) else f"cannot be loaded: {type(error).__name__}: {error}"
    return one_line(said, _MAX_REASON)
