"""Which files are the user's: packages beside torch's are, whatever their names begin with; Python's library is not."""

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
def test_packages_that_the_user_chose_are_the_users(name):
    assert is_users_code(str(PACKAGES / name / "layers.py"))


def test_packages_among_pythons_own_library_are_the_users():
    assert is_users_code(str(Path(copy.__file__).parent / "site-packages" / "ncps" / "cell.py"))


@pytest.mark.parametrize("module", [torch, np, sympy, copy, errors])
def test_what_a_capture_runs_with_is_not_the_users(module):
    assert not is_users_code(module.__file__)


def test_files_of_the_user_are(tmp_path):
    assert is_users_code(str(tmp_path / "model.py"))
    assert is_users_code(__file__)
