import importlib

import pytest

from rnnserve import models


def test_every_error_has_one_root():
    errors = [value for name in models.__all__ if name.endswith("Error") for value in [getattr(models, name)]]
    assert len(errors) == 6
    assert all(issubclass(error, models.ModelError) for error in errors)


@pytest.mark.parametrize("module", ["rnnserve.models", "rnnserve.models.tutorial"])
def test_what_is_promised_is_there(module):
    module = importlib.import_module(module)
    assert sorted(module.__all__) == sorted(set(module.__all__))
    assert all(hasattr(module, name) for name in module.__all__)
