"""The bound of many models: `python -m benchmarks.growth.bare_sessions REPOSITORY` loads each with onnxruntime alone.

It says when all are loaded, and keeps them until it is terminated, so that its memory can be read.
"""

import signal
import sys
from pathlib import Path

import onnxruntime as ort

__all__ = ["READY_PATTERN", "main"]

READY_PATTERN = r"sessions: (\d+)"


def main(repository: Path) -> None:
    """Load the models and wait for a signal."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    paths = sorted(repository.glob("*/1/model.onnx"))
    sessions = [ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]) for path in paths]
    print(f"sessions: {len(sessions)}", flush=True)
    signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
