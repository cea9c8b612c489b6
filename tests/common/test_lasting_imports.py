"""The collector is paused while a command imports torch, and passes over what is there then. Else it is as it was."""

import gc

import pytest

from rnnserve.common.lasting_imports import lasting_imports


@pytest.fixture(autouse=True)
def collector():
    assert gc.isenabled()
    yield
    gc.enable()


def is_passed_over(made):
    """Whether the collector looks at an object no more."""
    return not any(one is made for one in gc.get_objects())


def test_it_is_paused_and_passes_over_what_was_imported():
    with lasting_imports("not_imported"):
        assert not gc.isenabled()
        imported = [[] for _ in range(10)]
        before = gc.get_freeze_count()
    assert gc.isenabled()
    assert gc.get_freeze_count() > before + len(imported)
    assert is_passed_over(imported)


def test_failed_import_leaves_the_collector_on():
    with pytest.raises(ModuleNotFoundError), lasting_imports("not_imported"):
        raise ModuleNotFoundError
    assert gc.isenabled()


def test_collector_that_the_caller_switched_off_stays_off():
    gc.disable()
    with lasting_imports("not_imported"):
        pass
    assert not gc.isenabled()
