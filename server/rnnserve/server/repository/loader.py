"""Loading a repository: which versions are tried, and what becomes of them.

A load check runs each version in another process first (`trials`). Models wait in one queue; of each, the newest
version comes first, one at a time, until as many serve as its config wants. The server loads a version after it has
passed its check; meanwhile the next checks run. While others wait, a check has a second. A version that takes longer is
checked again after all others, with all the time that it may take: so it keeps nothing else from serving.
"""

import dataclasses
import logging
import threading
import time
from collections import deque
from concurrent import futures

from rnnserve.protos import model_config_pb2
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.triton_config import check_tensors
from rnnserve.server.counting.places import LOADED, NOT_LOADED
from rnnserve.server.counting.table import count_in_process, used_table
from rnnserve.server.errors import StartError, one_line
from rnnserve.server.repository.draft import Draft
from rnnserve.server.repository.entries import LOADING, ServedVersion
from rnnserve.server.repository.findings import Findings
from rnnserve.server.repository.graph_choice import AUTO, NATIVE, SCANNED, GraphChoice
from rnnserve.server.repository.load_version import load_model
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.trial_process import Refused, Stopped, TooSlow, Trial
from rnnserve.server.repository.trials import Trials

__all__ = ["Loader"]

_log = logging.getLogger(__name__)

_VERSIONS_EACH = 8
"""Versions for which a further process is worth its start, which computes as long as the checks of so many do."""

_FIRST_SECONDS = 1.0
"""Seconds that a load check may take while other versions wait for theirs. Small models take 0.01 to 0.1 seconds."""

_PATIENCE_SECONDS = 3.0
"""Seconds without a further version that serves after which a start doesn't wait for the rest. Beyond it: they are
loaded in the background."""

_LOOK_SECONDS = 0.1
"""Seconds between two looks at whether the start still waits."""


_MAX_REASON = 1000
"""Characters of a reason why a version does not serve, without paths: it is sent to clients, in a list with those of
all other versions. Beyond it: the rest is cut."""


@dataclasses.dataclass(eq=False)
class _Waiting:
    """A model of which versions have yet to be tried.

    Attributes:
        name: The model's name.
        versions: Numbers of these versions, newest first.
        config: The model's config.pbtxt.
        wanted: How many versions of the model are to serve.
    """

    name: str
    versions: deque[int]
    config: model_config_pb2.ModelConfig
    wanted: int


@dataclasses.dataclass(frozen=True)
class _Candidate:
    """A version of a model whose turn it is, and the seconds that its check may take."""

    model: _Waiting
    version: int
    seconds: float

    @property
    def name(self) -> str:
        return self.model.name


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
        patience: float = _PATIENCE_SECONDS,
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
            processes: Number of load checks at the same time, where there are many versions.
            threads: Threads of a run.
            allow_non_finite: Whether answers may be NaN or infinite.
            patience: Seconds without a further version that serves after which a start doesn't wait for the rest.
        """
        self._patience = patience
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
        self._queue: deque[_Waiting] = deque()
        self._slow: deque[_Candidate] = deque()  # those whose first check was too short
        self._running: dict[futures.Future[Findings], _Candidate] = {}
        self._served_at = time.monotonic()  # when a version came to serve last
        self.faults: list[str] = []
        self.fault: StartError | None = None
        self.is_whole = True
        self._is_done = threading.Event()

    def load(self) -> None:
        """Try and load every version that is to serve. Raises nothing: `wait` tells what went wrong."""
        self._served_at = time.monotonic()
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
        return time.monotonic() - self._served_at > self._patience

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
            reason = _reason_of(error)
            self._models.refuse_all(name, reason)
            self.faults.append(f"{name}: {reason}")
            _log.error("%s: %s", name, reason)
            return
        self._queue.append(_Waiting(name, deque(chosen), config, wanted))

    def _load_all(self) -> None:
        to_try = sum(len(model.versions) for model in self._queue)
        self._processes = max(1, min(self._processes, to_try // _VERSIONS_EACH))
        passed: deque[tuple[_Candidate, Findings]] = deque()
        while self._queue or self._slow or self._running or passed:
            self._begin_checks()
            if not passed and self._running:
                futures.wait(self._running, return_when=futures.FIRST_COMPLETED)
            for future in [each for each in self._running if each.done()]:
                self._conclude(self._running.pop(future), future, passed)
            self._begin_checks()
            if passed:
                candidate, findings = passed.popleft()
                self._serve(candidate, findings)
                self._queue_again(candidate)

    def _begin_checks(self) -> None:
        """Begin load checks, as many at the same time as may be."""
        while len(self._running) < self._processes and (candidate := self._next()) is not None:
            if not self._has_to_be_tried(candidate):
                self._queue_again(candidate)
                continue
            try:
                self._running[self._trials.begin(self._check_of(candidate))] = candidate
            except StartError as error:
                if not self._running:
                    raise
                _log.warning("fewer load checks run at the same time: %s", error)
                self._processes = len(self._running)
                self._slow.appendleft(candidate)

    def _next(self) -> _Candidate | None:
        """Take the version whose turn it is; None if there is none."""
        if not self._queue:
            return self._slow.popleft() if self._slow else None
        model = self._queue.popleft()
        version = model.versions.popleft()
        is_last = not (self._queue or self._slow or self._running or model.versions)
        return _Candidate(model, version, self._timeout if is_last else min(_FIRST_SECONDS, self._timeout))

    def _queue_again(self, candidate: _Candidate) -> None:
        """Let further versions of its model have their turns."""
        if candidate.model.versions and candidate.model not in self._queue:
            self._queue.append(candidate.model)

    def _has_to_be_tried(self, candidate: _Candidate) -> bool:
        """Whether a version may come to serve, and doesn't serve already."""
        if self._models.is_outdated(candidate.name, candidate.version, candidate.model.wanted):
            return False
        if refusal := self._models.signed.refusal(candidate.name, candidate.version):
            self._refuse(candidate, refusal)
            return False
        return not self._take_over(candidate)

    def _check_of(self, candidate: _Candidate) -> Trial:
        name, version = candidate.name, str(candidate.version)
        return Trial(
            self._models.folders.of(name) / version,
            name,
            version,
            self._device,
            self._graph,
            self._allow_unproven,
            self._threads,
            max_bytes=self._max_bytes,
            seconds=candidate.seconds,
            inside=self._models.inside,
            signed=self._models.signed.files(name, candidate.version),
        )

    def _conclude(
        self, candidate: _Candidate, check: "futures.Future[Findings]", passed: deque[tuple[_Candidate, Findings]]
    ) -> None:
        """Take the outcome of a load check: the version has passed, or it is refused.

        Raises:
            StartError: If the device cannot be had, or no process can be started.
            Stopped: If `stop` was called.
        """
        try:
            findings = check.result()
        except Refused as refused:
            self._refuse(candidate, str(refused))
            if refused.traceback:
                _log.debug("%s version %d: %s", candidate.name, candidate.version, refused.traceback)
        except TooSlow:
            if candidate.seconds < self._timeout:
                self._slow.append(dataclasses.replace(candidate, seconds=self._timeout))
            else:
                self._refuse(candidate, f"did not load within {self._timeout:g} s (--load-timeout)")
        else:
            passed.append((candidate, findings))
            return
        self._queue_again(candidate)

    def _take_over(self, candidate: _Candidate) -> bool:
        """Let a version serve on, with the config as it is now, if it serves already; whether nothing is to be loaded.

        One whose files cannot be trusted any more is refused.
        """
        try:
            self._models.check_links(candidate.name, candidate.version)
            model = self._models.loaded_before(candidate.name, candidate.version)
            if model is None:
                return False
            check_tensors(candidate.model.config, model.manifest.inputs, model.manifest.outputs)
        except Exception as error:  # noqa: BLE001 - one version must not keep the others out, whatever its files hold
            self._refuse(candidate, _reason_of(error))
        else:
            self._let_serve(candidate, model)
        return True

    def _serve(self, candidate: _Candidate, findings: Findings) -> None:
        """Load a version that has passed, and let it serve in the place of an older one."""
        name, version, config = candidate.name, candidate.version, candidate.model.config
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
            self._refuse(candidate, _reason_of(error))
            _log.debug("%s version %d", name, version, exc_info=error)
            return
        count_in_process(LOADED)
        _log.info("%s version %d is ready on %s: its golden results hold", name, version, model.device)
        _log_graph(name, version, self._graph, findings.graph)
        self._let_serve(candidate, model)

    def _let_serve(self, candidate: _Candidate, model: Model) -> None:
        """Let a version that holds serve in the place of an older one."""
        name = candidate.name
        signed = self._models.signed.of(name, candidate.version)
        self._models.serve(ServedVersion(model, candidate.model.config, signed))
        self._served_at = time.monotonic()
        used_table().tell(name, model.version, model.about)
        for older in self._models.newest(name, candidate.model.wanted + 1)[candidate.model.wanted :]:
            self._models.leave_out(name, older, "a newer version serves")

    def _refuse(self, candidate: _Candidate, said: str) -> None:
        reason = one_line(said, _MAX_REASON)
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


def _reason_of(error: Exception) -> str:
    """Say in one line why something cannot be loaded; it is sent to clients, so without paths."""
    said = str(error) if isinstance(error, ArtifactError) else f"cannot be loaded: {type(error).__name__}: {error}"
    return one_line(said, _MAX_REASON)


def _log_graph(name: str, version: int, asked: str, graph: GraphChoice) -> None:
    """Log which graph serves, where there was a choice, and where it is not the one that was asked for."""
    if asked == SCANNED and graph.name == NATIVE:
        _log.warning("%s version %d: --graph scan: %s", name, version, graph)
    elif graph.name == SCANNED:
        _log.info("%s version %d: %s", name, version, graph)
