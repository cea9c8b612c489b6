"""What the contracts' modules export: other areas, and other people's scripts, use these names."""

import importlib
import subprocess
import sys

import pytest

EXPORTED = {
    "artifact": [
        "DEFAULTS",
        "FORMAT",
        "FORMAT_OF_DEFAULTS",
        "GOLDEN",
        "MANIFEST",
        "MODEL",
        "PARTS",
        "SCAN",
        "SCRIPT",
        "ArtifactError",
        "Version",
        "describe_file",
        "dump_manifest",
        "read_version",
    ],
    "descriptor_pool": ["POOL"],
    "differences": ["Difference", "coarseness", "equally_non_finite", "largest_difference", "scale"],
    "golden": ["KINDS", "Case", "Inference", "dump_cases", "load_cases", "replay"],
    "names": ["is_model_name", "version_number"],
    "recorded_defaults": ["default_shape", "dump_defaults", "fill_left_out", "infinite_defaults", "load_defaults"],
    "triton_config": [
        "CONFIG",
        "ConfigError",
        "MissingConfigError",
        "check_tensors",
        "read_config",
        "versions_to_serve",
    ],
}


@pytest.mark.parametrize("name", EXPORTED)
def test_exported_names(name):
    module = importlib.import_module(f"rnnserve.protos.{name}")
    assert module.__all__ == EXPORTED[name]
    assert all(hasattr(module, exported) for exported in EXPORTED[name])


def test_the_package_itself_exports_nothing_and_imports_nothing():
    code = "import sys; import rnnserve.protos as p; print([n for n in vars(p) if n[0] != '_'], 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[] False\n"


@pytest.mark.parametrize(
    "name", ["health_pb2", "inference_pb2", "inference_pb2_grpc", "manifest_pb2", "model_config_pb2"]
)
def test_stubs_are_there(name):
    assert importlib.import_module(f"rnnserve.protos.{name}").__name__ == f"rnnserve.protos.{name}"
