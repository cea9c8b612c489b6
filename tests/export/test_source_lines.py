"""Which files are the user's: packages beside torch's are, but Python's own library isn't."""

import copy
from pathlib import Path

import numpy as np
import pytest
import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch

from rnnserve.export import errors
from rnnserve.export.source_lines import is_users_code

PACKAGES = Path(torch.__file__).parents[1]


@pytest.mark.parametrize("name", ["torchcrf", "torch_einops_utils", "torchaudio", "numpyro", "sympy_user", "ncps"])
def test_installed_package_counts_as_users_code(name):
    assert is_users_code(str(PACKAGES / name / "layers.py"))


def test_package_below_the_standard_library_counts_as_users_code():
    assert is_users_code(str(Path(copy.__file__).parent / "site-packages" / "ncps" / "cell.py"))


@pytest.mark.parametrize("module", [torch, np, sympy, copy, errors])
def test_libraries_of_the_capture_do_not_count_as_users_code(module):
    assert not is_users_code(module.__file__)


def test_users_file_counts_as_users_code(tmp_path):
    assert is_users_code(str(tmp_path / "model.py"))
    assert is_users_code(__file__)
