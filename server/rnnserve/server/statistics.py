"""What a model has done, counted once a run."""

import dataclasses
import threading
import time

from rnnserve.protos import inference_pb2 as pb

__all__ = ["Statistics"]


@dataclasses.dataclass
class Statistics:
    """Counts since the model was loaded. Any thread may write or read.

    Attributes:
        requests: Answered requests.
        failures: Requests whose run failed.
        dropped: Requests that nobody waited for any more when their turn came.
        rows: Answered rows: a request of batch 3 counts 3.
        runs: Batches run.
        run_ns: Nanoseconds spent in them.
        wait_ns: Nanoseconds that requests have waited for their run, together.
        last: When the last run ended, in seconds since the epoch; 0 before the first.
        sizes: By rows of a run, its padding row not counted: how many there were, and their nanoseconds.
    """

    requests: int = 0
    failures: int = 0
    dropped: int = 0
    rows: int = 0
    runs: int = 0
    run_ns: int = 0
    wait_ns: int = 0
    last: float = 0.0
    sizes: dict[int, tuple[int, int]] = dataclasses.field(default_factory=dict)
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock, repr=False)

    def record(self, *, requests: int, rows: int, run_ns: int, wait_ns: int) -> None:
        """Count a run that has ended well."""
        with self._lock:
            self.requests += requests
            self.rows += rows
            self.runs += 1
            self.run_ns += run_ns
            self.wait_ns += wait_ns
            self.last = time.time()
            count, spent = self.sizes.get(rows, (0, 0))
            self.sizes[rows] = (count + 1, spent + run_ns)

    def record_failures(self, requests: int) -> None:
        """Count requests whose run failed."""
        with self._lock:
            self.failures += requests

    def record_dropped(self) -> None:
        """Count a request that nobody waited for any more."""
        with self._lock:
            self.dropped += 1

    def message(self, name: str, version: str) -> pb.ModelStatistics:
        """Say it as the protocol does.

        `compute_infer` is the whole of a run here, joining and splitting included. `compute_input` and `compute_output`
        are counted all the same, with no time of their own: perf_analyzer ends where the three counts differ.
        """
        batches = [
            pb.InferBatchStatistics(
                batch_size=rows,
                compute_input=pb.StatisticDuration(count=count),
                compute_infer=pb.StatisticDuration(count=count, ns=spent),
                compute_output=pb.StatisticDuration(count=count),
            )
            for rows, (count, spent) in sorted(self.sizes.copy().items())
        ]
        return pb.ModelStatistics(
            name=name,
            version=version,
            last_inference=int(self.last * 1000),
            inference_count=self.rows,
            execution_count=self.runs,
            inference_stats=pb.InferStatistics(
                success=pb.StatisticDuration(count=self.requests, ns=self.wait_ns + self.run_ns),
                fail=pb.StatisticDuration(count=self.failures + self.dropped),
                queue=pb.StatisticDuration(count=self.requests, ns=self.wait_ns),
                compute_input=pb.StatisticDuration(count=self.requests),
                compute_infer=pb.StatisticDuration(count=self.requests, ns=self.run_ns),
                compute_output=pb.StatisticDuration(count=self.requests),
            ),
            batch_stats=batches,
        )
