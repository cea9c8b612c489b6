"""10,000 walks round a square, for a model that can tell their directions, and what gRPC answers to each."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from rnnserve.cli import main
from rnnserve.client import Client
from rnnserve.models import generate_walks

__all__ = ["ask_by_grpc", "publish_direction"]

MODEL = "direction_simple"

_WALKS, _LONGEST = 10_000, 16
_SEED = 7


def publish_direction(repository: Path, work: Path) -> None:
    """Train the tutorial's first classifier, and publish it beside the other models, in some fifteen seconds.

    Args:
        repository: Repository of models.
        work: A folder for the checkpoint.
    """
    for command in (["train", MODEL], ["export", MODEL, "--repository", str(repository)]):
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = main([*command, "--checkpoints", str(work)])
        if status != 0:
            raise RuntimeError(f"rnnserve {command[0]} {MODEL} has failed: {said.getvalue()}")


def ask_by_grpc(address: str, file: Path) -> dict[str, Any]:
    """Ask a server for the direction of each walk, over gRPC.

    Args:
        address: The server's.
        file: What is written: `walks` (lists of points), `logits` (a list of two for each walk; read as float32 they
            have the bits of the answers) and `directions` (the index of the right class), in JSON.

    Returns:
        `model` and `file`, for the programs' plan.
    """
    walks, directions = generate_walks(_WALKS, max_length=_LONGEST, seed=_SEED)
    with Client(address) as client:
        logits = np.stack([row["logits"] for row in client.predict(MODEL, walks, outputs=["logits"])])
    listed = {"walks": [walk.tolist() for walk in walks], "logits": logits.tolist(), "directions": directions.tolist()}
    file.write_text(json.dumps(listed))
    return {"model": MODEL, "file": str(file)}
