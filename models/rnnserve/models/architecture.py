"""What distinguishes one direction classifier from another, and the three that the tutorial trains."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rnnserve.models.errors import ArchitectureError

__all__ = ["ARCHITECTURES", "CELLS", "LABELS", "NONLINEARITIES", "Architecture", "architecture_named"]

CELLS = ("rnn", "gru", "lstm")
NONLINEARITIES = ("tanh", "relu")

# Index 0 and 1 are the tutorial's `directions`: 1 visits its corners in the order written there, left and upwards
# first, which is clockwise.
LABELS = ("counter-clockwise", "clockwise")


@dataclass(frozen=True)
class Architecture:
    """The shape of a classifier, without its weights.

    Attributes:
        cell: `"rnn"`, `"gru"` or `"lstm"`.
        nonlinearity: `"tanh"` or `"relu"`; only an rnn has the choice.
        num_layers: recurrent layers, each reading the output of the one below.
        bidirectional: whether each layer also reads its sequence from the end.
        features: values of one point of a sequence.
        hidden: values of one direction's hidden state.
        classes: logits.

    Raises:
        ArchitectureError: an attribute outside the above, or a size below 1.
    """

    cell: str = "rnn"
    nonlinearity: str = "tanh"
    num_layers: int = 1
    bidirectional: bool = False
    features: int = 2
    hidden: int = 16
    classes: int = 2

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ArchitectureError(f"cell is {self.cell!r}; it is one of {_listed(CELLS)}")
        if self.nonlinearity not in NONLINEARITIES:
            raise ArchitectureError(f"nonlinearity is {self.nonlinearity!r}; it is one of {_listed(NONLINEARITIES)}")
        if self.cell != "rnn" and self.nonlinearity != "tanh":
            raise ArchitectureError(
                f"a {self.cell} has no choice of nonlinearity (only cell 'rnn' has), so {self.nonlinearity!r} would "
                "be ignored: leave nonlinearity out"
            )
        if not isinstance(self.bidirectional, bool):
            raise ArchitectureError(f"bidirectional is {self.bidirectional!r}; it is True or False")
        for name in ("num_layers", "features", "hidden", "classes"):
            size = getattr(self, name)
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise ArchitectureError(f"{name} is {size!r}; it is a whole number, 1 or more")

    @property
    def directions(self) -> int:
        """2 where each layer is read both ways, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def states(self) -> int:
        """Length of the first axis of a hidden state: num_layers * directions."""
        return self.num_layers * self.directions


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "direction_simple": Architecture(),
        "direction_stacked": Architecture(num_layers=2),
        "direction_bidirectional": Architecture(bidirectional=True),
    }
)


def architecture_named(name: str) -> Architecture:
    """Look one of `ARCHITECTURES` up.

    Raises:
        ArchitectureError: there is none of that name; the message lists those there are.
    """
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise ArchitectureError(f"there is no model {name!r}; the models are {', '.join(ARCHITECTURES)}") from None


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(repr(name) for name in names)
