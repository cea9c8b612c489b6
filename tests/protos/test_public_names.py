"""Modules of contracts: other areas, and other people's scripts, import these."""

import subprocess
import sys

from rnnserve.protos import artifact


def test_artifact_exports_its_public_names():
    assert {"ArtifactError", "describe_file", "dump_manifest", "read_version"} <= set(artifact.__all__)
    assert all(hasattr(artifact, name) for name in artifact.__all__)


def test_package_exports_and_imports_nothing():
    code = "import sys; import rnnserve.protos as p; print([n for n in vars(p) if n[0] != '_'], 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[] False\n"
