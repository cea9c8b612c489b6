"""The architecture of a direction classifier, and the three architectures of the tutorial."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rnnserve.models.errors import ArchitectureError

__all__ = ["ARCHITECTURES", "CELLS", "LABELS", "NONLINEARITIES", "Architecture", "architecture_named"]

CELLS = ("rnn", "gru", "lstm")
NONLINEARITIES = ("tanh", "relu")

# The index is the class in the tutorial's `directions`. Class 1 visits the corners in the order in which the tutorial
# lists them, from the lower left upwards, which is clockwise.
LABELS = ("counter-clockwise", "clockwise")


@dataclass(frozen=True)
class Architecture:
    """The shape of a classifier, without its weights.

    Attributes:
        cell: `"rnn"`, `"gru"` or `"lstm"`.
        nonlinearity: `"tanh"` or `"relu"`. Only cell `"rnn"` can use `"relu"`.
        num_layers: Number of recurrent layers. Each reads the output of the layer below.
        bidirectional: Whether each layer also reads its sequence from the end.
        features: Number of values of one point of a sequence.
        hidden: Number of values of one direction's hidden state.
        classes: Number of classes, which is the number of logits.

    Raises:
        ArchitectureError: If an attribute has none of these values, or a size is below 1.
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
            raise ArchitectureError(f"cell is {self.cell!r}, expected one of {_listed(CELLS)}")
        if self.nonlinearity not in NONLINEARITIES:
            raise ArchitectureError(f"nonlinearity is {self.nonlinearity!r}, expected one of {_listed(NONLINEARITIES)}")
        if self.cell != "rnn" and self.nonlinearity != "tanh":
            raise ArchitectureError(
                f"nonlinearity is {self.nonlinearity!r}, but a {self.cell} always uses its own (only cell 'rnn' has a "
                "choice): leave nonlinearity out"
            )
        if not isinstance(self.bidirectional, bool):
            raise ArchitectureError(f"bidirectional is {self.bidirectional!r}, expected True or False")
        for name in ("num_layers", "features", "hidden", "classes"):
            size = getattr(self, name)
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise ArchitectureError(f"{name} must be a positive integer, got {size!r}")

    @property
    def directions(self) -> int:
        """Return 2 if the layers are bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def states(self) -> int:
        """Return the size of the first axis of a hidden state: num_layers * directions."""
        return self.num_layers * self.directions


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "direction_simple": Architecture(),
        "direction_stacked": Architecture(num_layers=2),
        "direction_bidirectional": Architecture(bidirectional=True),
    }
)


def architecture_named(name: str) -> Architecture:
    """Return the architecture of `ARCHITECTURES` with this name.

    Raises:
        ArchitectureError: If the name is unknown. The message lists the names.
    """
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise ArchitectureError(f"unknown model {name!r}; expected one of {', '.join(ARCHITECTURES)}") from None


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(repr(name) for name in names)
