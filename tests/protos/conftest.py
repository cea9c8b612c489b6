"""Golden cases of several kinds and sizes."""

import pytest

from kit.running_means import a_case


@pytest.fixture
def cases():
    return [a_case("step", 33, 1, 1), a_case("walk", 5, 9, 2), a_case("random", 2, 7, 3), a_case("random", 5, 20, 4)]
