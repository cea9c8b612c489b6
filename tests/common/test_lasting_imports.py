"""The collector is paused while a command imports torch, and passes over what is there then; else it is as it was."""

import gc

import pytest

from rnnserve.common.lasting_imports import lasting_imports


@pytest.fixture(autouse=True)
def collector():
    assert gc.isenabled()
    yield
    gc.enable()


def test_it_is_paused_and_passes_over_what_was_imported():
    with lasting_imports("not_imported"):
        assert not gc.isenabled()
        imported = [[] for _ in range(10)]
        before = gc.get_freeze_count()
    assert gc.isenabled()
    assert gc.get_freeze_count() > before + len(imported)
    assert not any(one is imported for one in gc.get_objects())


def test_an_import_that_fails_leaves_it_on():
    with pytest.raises(ModuleNotFoundError), lasting_imports("not_imported"):
        raise ModuleNotFoundError
    assert gc.isenabled()


def test_what_is_imported_already_changes_nothing():
    before = gc.get_freeze_count()
    with lasting_imports("gc"):
        assert gc.isenabled()
    assert gc.get_freeze_count() == before


def test_one_that_the_caller_has_switched_off_stays_off():
    gc.disable()
    before = gc.get_freeze_count()
    with lasting_imports("not_imported"):
        pass
    assert not gc.isenabled()
    assert gc.get_freeze_count() == before
