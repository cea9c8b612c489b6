"""Try a version as a server does before it serves it: `python -m rnnserve.server.trial FOLDER`.

`rnnserve export` and `rnnserve import` end with it, so that what is published is what servers take. It is a process of
its own, since a version may crash it or fill its memory, and needs onnxruntime and numpy only: no grpc. It prints one
line, a JSON object: {"serves": true, "graph": …, "batch_invariant": …} for a version that may serve, else {"serves":
false, "reason": "why"}. Where answers of model.scan.onnx keep fewer bits than those of model.onnx would, it has
"better": "native", too. The exit status is 0 or 1; 2 where no version can be tried.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnserve.protos.artifact import ArtifactError, read_version
from rnnserve.server.repository.findings import Findings
from rnnserve.server.repository.folders import check_name
from rnnserve.server.repository.graph_choice import AUTO, NATIVE, SCANNED
from rnnserve.server.repository.trial_worker import try_out
from rnnserve.server.settings import Settings

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Try a version, and print what was found; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m rnnserve.server.trial", description=__doc__)
    parser.add_argument("folder", type=Path, help="the version's folder")
    parser.add_argument("--model", help="the model's name (default: the name of the folder around the version's)")
    parser.add_argument("--allow-unproven", action="store_true", help="take versions that were adopted, too")
    args = parser.parse_args(arguments)
    args.model = args.model or args.folder.resolve().parent.name
    try:
        check_name(read_version(args.folder, keep=()).manifest, args.model)
    except ArtifactError as error:
        print(json.dumps({"serves": False, "reason": str(error)}))
        return 1
    found = _try(args, AUTO)
    if "start_error" in found:
        print(json.dumps({"serves": False, "reason": found["start_error"]}))
        return 2
    if "refused" in found:
        print(json.dumps({"serves": False, "reason": found["refused"]}))
        return 1
    findings = Findings.from_fields(found["findings"])
    said: dict[str, Any] = {"graph": findings.graph.name, "batch_invariant": findings.batch_invariant}
    if findings.graph.name == SCANNED and findings.may_keep_more_bits:
        native = _try(args, NATIVE)
        if "findings" in native and Findings.from_fields(native["findings"]).bits_kept > findings.bits_kept:
            said["better"] = NATIVE
    print(json.dumps({"serves": True, **said}))
    return 0


def _try(args: argparse.Namespace, graph: str) -> dict[str, Any]:
    """Try the version on the graph that serves, or on one that is asked for; what was found, as `try_out` gives it."""
    folder: Path = args.folder.resolve()
    settings = Settings()
    return try_out(
        str(folder),
        args.model,
        folder.name,
        "cpu",
        graph=graph,
        allow_unproven=args.allow_unproven,
        max_bytes=settings.max_load_bytes,
        threads=1,
        seconds=settings.load_timeout,
        inside=None,
        rounds=1,  # what it costs is not printed; each server measures it where it runs
    )


if __name__ == "__main__":
    sys.exit(main())
