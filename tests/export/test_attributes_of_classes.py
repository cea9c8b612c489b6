"""Which attributes of classes a module may set: those of what may be a class, and not of a method's own `self`."""

from typing import ClassVar

from torch import nn

from rnnserve.export.outer_variables import outer_variables


def set_in(kind):
    kind.of_parameter = 1


class Setting(nn.Module):
    of_type: ClassVar[int]
    of_class: ClassVar[int]
    of_method: ClassVar[int]

    def __init__(self):
        super().__init__()
        self.own = 0

    def forward(self, x):
        self.own, self.pair = 1, 2
        type(self).of_type = self.__class__.of_class = 3
        set_in(type(self))
        return self.inner(x)

    @classmethod
    def inner(cls, x):
        cls.of_method = 4
        return x


def test_attributes_that_only_objects_are_given_are_looked_for_in_no_class():
    """A package has hundreds of classes and of such names: looking for each in each took minutes."""
    keys = {each.key for each in outer_variables(Setting()) if each.owner is Setting}
    assert keys == {"of_type", "of_class", "of_parameter", "of_method"}
