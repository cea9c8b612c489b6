import pytest

from rnnserve.load.generator_growth import GrowingGenerators
from rnnserve.load.load_level import LoadLevel, Measurement


class Generators:
    """Are busy if they are fewer than the load needs."""

    def __init__(self, result, count, first, needed):
        self.result, self.count, self.first, self.needed = result, count, first, needed
        self.closed = False

    def run(self, load, report_progress):
        del load, report_progress
        assert not self.closed
        return Measurement(self.result(cpu=0.95 if self.count < self.needed else 0.5).statistics, 1.0)

    def __exit__(self, *error):
        self.closed = True


@pytest.fixture
def growing(result):
    """Makes growing generators; returns them, all that were started, and the messages."""

    def make(*, rate=0.0, most=8, needed=1):
        started, said = [], []

        def start(count, first):
            started.append(Generators(result, count, first, needed))
            return started[-1]

        return GrowingGenerators(start, rate, most, said.append), started, said

    return make


def test_generators_begin_with_as_many_as_the_rate_needs(growing):
    assert [growing(rate=rate)[0].count for rate in (0, 3000, 3001, 9000, 1e6)] == [1, 1, 2, 3, 8]


def test_number_of_generators_doubles_while_one_is_busy(growing):
    generators, started, said = growing(needed=3)
    with generators:
        measured = generators.run(LoadLevel(rate=500), None)
        assert measured.statistics.cpu == [0.5]
        generators.run(LoadLevel(rate=600), None)
    assert [(each.count, each.first) for each in started] == [(1, 0), (2, 1), (4, 2)]
    assert all(each.closed for each in started)
    assert said == [f"a generator was busy: 500 requests/s is measured again with {count}" for count in (2, 4)]


def test_number_of_generators_stays_below_its_limit(growing):
    generators, started, _ = growing(needed=100, most=3)
    assert generators.run(LoadLevel(rate=500), None).statistics.cpu == [0.95]
    assert [each.count for each in started] == [1, 2, 3]
