"""Loading a repository: which versions are tried, and what becomes of them.

Each version is tried in a process of its own first (`trials`), in the order of `load_order`, and only if it passes is
it loaded in the server. While one is loaded here, the next ones are tried there.
"""

import logging
import threading
import time
from collections import deque

from rnnserve.protos.triton_config import check_tensors
from rnnserve.server.counting.places import LOADED, NOT_LOADED
from rnnserve.server.counting.table import count_in_process, used_table
from rnnserve.server.error_texts import one_line
from rnnserve.server.errors import StartError
from rnnserve.server.repository.draft import Draft
from rnnserve.server.repository.entries import LOADING, ServedVersion
from rnnserve.server.repository.findings import Findings
from rnnserve.server.repository.graph_choice import AUTO
from rnnserve.server.repository.load_order import Candidate, LoadOrder
from rnnserve.server.repository.load_version import load_model
from rnnserve.server.repository.load_words import MAX_REASON, reason_of, tell_graph
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.trial_process import Refused, Stopped, TooSlow, Trial
from rnnserve.server.repository.trials import Trials

__all__ = ["Loader"]

_log = logging.getLogger(__name__)

_SMALL_BYTES = 64 << 20
"""Bytes of memory that a version may take in a trial beside one that may take all, beyond eight times its files: small
models take 5 MB. Beyond it: it is tried again when its turn comes."""

_BLOCKED = 10
"""How many seconds a trial may take for each that it may compute: files are read, and the machine may be busy."""

_VERSIONS_EACH = 8
"""Versions for which a further process is worth its start, which computes as long as the trials of so many do."""

_LOST_SECONDS = 3.0
"""Seconds that versions which do not come to serve may delay the start. Beyond it: they are tried on in the
background."""

_LOOK_SECONDS = 0.1
"""Seconds between two looks at how long the start has been delayed."""


class Loader:
    """Loads the versions that the configs of a repository choose. One thread calls `load`, any other the rest.

    Attributes:
        faults: What is wrong with versions that were to serve, a line each; for the thread that calls `load`.
        fault: Why no further version could be tried, or none serves; None where neither is so.
        is_whole: Whether every version that was to be tried was.
    """

    def __init__(
        self,
        models: Draft,
        trials: Trials,
        device: str,
        *,
        allow_unproven: bool,
        timeout: float,
        max_bytes: int = 512 << 20,
        graph: str = AUTO,
        processes: int = 1,
        threads: int = 1,
        allow_non_finite: bool = False,
        lost_seconds: float = _LOST_SECONDS,
    ) -> None:
        """Prepare; `load` loads.

        Args:
            models: The models to load: a draft, or the repository itself at the start.
            trials: The trials of versions.
            device: "cpu" or "cuda".
            allow_unproven: Whether versions serve, too, that were adopted from an ONNX file and not proven.
            timeout: Seconds that a version may take to be tried.
            max_bytes: Memory that a version may take to be tried, beyond eight times its files.
            graph: The graph of a version that is to serve, as `Settings.graph`.
            processes: Number of processes that may try versions at the same time, where there are many versions.
            threads: Threads of a run.
            allow_non_finite: Whether answers may be NaN or infinite.
            lost_seconds: Seconds that versions which do not come to serve may delay the start.
        """
        self._lost_seconds = lost_seconds
        self._models = models
        self._trials = trials
        self._device = device
        self._allow_unproven = allow_unproven
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._graph = graph
        self._processes = processes
        self._threads = threads
        self._allow_non_finite = allow_non_finite
        self._order = LoadOrder(timeout)
        self._held: list[tuple[Candidate, Model]] = []  # earlier releases, until a later one serves beside them
        self._lost = 0.0  # seconds spent on versions that did not come to serve
        self._began = time.monotonic()  # when a version's turn ended last
        self.faults: list[str] = []
        self.fault: StartError | None = None
        self.is_whole = True
        self._is_done = threading.Event()

    def load(self) -> None:
        """Try and load every version that is to serve. Raises nothing: `wait` tells what went wrong."""
        try:
            for name in self._models.models():
                self._choose(name)
            self._load_all()
            self._models.stay()
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
            self._trials.close()
            self._is_done.set()

    def wait(self) -> None:
        """Wait until all is loaded; or something serves, and others have delayed the start for as long as they may.

        Raises:
            StartError: If no version may serve, with the reasons, a line each; or the device cannot be had.
        """
        while not self._is_done.wait(_LOOK_SECONDS):
            if self.delays_the_start and self._models.served():
                return
        if self.fault is not None:
            raise self.fault

    @property
    def delays_the_start(self) -> bool:
        """Whether versions that have not come to serve have delayed the start for as long as they may."""
        return self._lost + (time.monotonic() - self._began if self._order.tries_slow else 0.0) > self._lost_seconds

    def stop(self) -> None:
        """Try no further version. `load` returns when the one that is being loaded, if any, has been."""
        self._trials.stop()

    def _choose(self, name: str) -> None:
        """Add the versions of a model that may serve, newest first."""
        try:
            self._models.found(name)
            self._models.check_links(name)
            config = self._models.config(name)
            chosen, wanted = self._models.chosen(name, config)
        except Exception as error:  # noqa: BLE001 - one model's folder must not keep the others out
            reason = reason_of(error)
            self._models.refuse_all(name, reason)
            self.faults.append(f"{name}: {reason}")
            _log.error("%s: %s", name, reason)
            return
        self._order.add(name, chosen, config, wanted)

    def _load_all(self) -> None:
        self._processes = max(1, min(self._processes, len(self._order.waiting) // _VERSIONS_EACH))
        passed: deque[tuple[Candidate, Findings]] = deque()
        self._begin_trials()
        while self._trials.running or passed:
            for candidate, outcome in self._trials.take(wait=not passed):
                if isinstance(outcome, Findings) and not (candidate.is_small and outcome.cost.is_bounded):
                    self._order.passed(candidate)
                    passed.append((candidate, outcome))
                else:
                    self._keep_out(candidate, outcome)
            self._begin_trials()
            if passed:
                candidate, findings = passed.popleft()
                self._serve(candidate, findings)
                self._end(candidate)
                self._begin_trials()
        for candidate, _ in self._held:
            self._refuse(candidate, self._models.rollback(candidate.name, candidate.version))

    def _begin_trials(self) -> None:
        """Let versions that wait be tried, as many at the same time as may be."""
        while self._trials.running < self._processes and (candidate := self._order.next()) is not None:
            if not self._has_to_be_tried(candidate):
                self._order.end(candidate)
                continue
            try:
                self._begin(candidate)
            except StartError as error:
                if not self._trials.running:
                    raise
                _log.warning("versions are tried by fewer processes: %s", error)
                self._processes = self._trials.running
                self._order.put_back(candidate, needs_all=False)

    def _has_to_be_tried(self, candidate: Candidate) -> bool:
        """Whether a version may come to serve, and doesn't serve already."""
        if self._models.is_outdated(candidate.name, candidate.version, candidate.wanted):
            return False
        waiting = [other.version for other in self._order.waiting if other.name == candidate.name]
        if refusal := self._models.refusal(candidate.name, candidate.version, waiting):
            self._refuse(candidate, refusal)
            return False
        return not self._take_over(candidate)

    def _begin(self, candidate: Candidate) -> None:
        name, version = candidate.name, str(candidate.version)
        trial = Trial(
            self._models.folders.of(name) / version,
            name,
            version,
            self._device,
            self._graph,
            self._allow_unproven,
            self._threads,
            max_bytes=min(_SMALL_BYTES, self._max_bytes) if candidate.is_small else self._max_bytes,
            seconds=min(_BLOCKED * candidate.seconds, self._timeout),
            processor_seconds=candidate.seconds,
            inside=self._models.inside,
            signed=self._models.signed.files(name, candidate.version),
        )
        self._trials.begin(candidate, trial)

    def _end(self, candidate: Candidate) -> None:
        """End a version's turn."""
        self._order.end(candidate)
        now = time.monotonic()
        if candidate.version not in self._models.newest(candidate.name, candidate.wanted):
            self._lost += now - self._began
        self._began = now

    def _take_over(self, candidate: Candidate) -> bool:
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
            self._refuse(candidate, reason_of(error))
        else:
            self._let_serve(candidate, model)
        return True

    def _keep_out(self, candidate: Candidate, outcome: Exception | Findings) -> None:
        """Let a version that has not passed be tried again, or refuse it."""
        if isinstance(outcome, Stopped):
            raise outcome
        if candidate.is_small:  # it might pass with more memory, or with larger runs
            self._order.put_back(candidate, needs_all=True)
        elif isinstance(outcome, Refused):
            self._refuse(candidate, str(outcome))
            if outcome.traceback:
                _log.debug("%s version %d: %s", candidate.name, candidate.version, outcome.traceback)
        elif isinstance(outcome, Exception) and not isinstance(outcome, TooSlow):
            raise outcome
        elif self._order.too_slow(candidate):
            _log.info(
                "%s version %d did not load within %g s; it is tried again after the others",
                candidate.name,
                candidate.version,
                candidate.seconds,
            )
        else:
            self._refuse(candidate, f"did not load within {self._timeout:g} s (--load-timeout)")
        self._end(candidate)

    def _serve(self, candidate: Candidate, findings: Findings) -> None:
        """Load a version that has passed, and let it serve in the place of an older one."""
        name, version, config = candidate.name, candidate.version, candidate.config
        try:
            model = load_model(
                self._models.folders.of(name) / str(version),
                name,
                str(version),
                self._device,
                allow_unproven=self._allow_unproven,
                allow_non_finite=self._allow_non_finite,
                threads=self._threads,
                inside=self._models.inside,
                known=findings,
                signed=self._models.signed.files(name, version),
            )
            self._models.check(model)
            check_tensors(config, model.manifest.inputs, model.manifest.outputs)
        except StartError:
            raise
        except Exception as error:  # noqa: BLE001 - one version must not keep the others out, whatever it does
            self._refuse(candidate, reason_of(error))
            _log.debug("%s version %d", name, version, exc_info=error)
            return
        count_in_process(LOADED)
        _log.info("%s version %d is ready on %s: its golden results hold", name, version, model.device)
        tell_graph(_log, name, version, self._graph, findings.graph)
        self._let_serve(candidate, model)

    def _let_serve(self, candidate: Candidate, model: Model) -> None:
        """Let a version that holds serve in the place of an older one; one of an earlier release after a later one."""
        name = candidate.name
        if self._models.rollback(name, candidate.version):
            self._held.append((candidate, model))
            return
        self._models.serve(ServedVersion(model, candidate.config, self._models.signed.of(name, candidate.version)))
        used_table().tell(name, model.version, model.about)
        for older in self._models.newest(name, candidate.wanted + 1)[candidate.wanted :]:
            self._models.leave_out(name, older, "a newer version serves")
        held, self._held = self._held, []
        for earlier, its_model in held:
            if not self._models.is_outdated(earlier.name, earlier.version, earlier.wanted):
                self._let_serve(earlier, its_model)

    def _refuse(self, candidate: Candidate, said: str) -> None:
        reason = one_line(said, MAX_REASON)
        count_in_process(NOT_LOADED)
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
