"""Coverage does not follow matplotlib, which draws in Python: that was half of the time of these tests."""

import pytest
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from support.torch_unmeasured import paused


@pytest.fixture(scope="session", autouse=True)
def matplotlib_unmeasured():
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (Figure, "add_axes"),
            (Axes, "plot"),
            (Axes, "bar"),
            (Axis, "set_ticks"),
            (Figure, "savefig"),
        ):
            patch.setattr(owner, name, paused(getattr(owner, name)))
        yield
