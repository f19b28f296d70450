"""How sure a difference between two groups of runs is: intervals by Student's t, in NumPy."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

LEVEL = 0.95
FEWEST_TO_POOL = 5  # changes with two seeds or more

Values = Mapping[int, float]  # by seed


@dataclasses.dataclass(frozen=True)
class Difference:
    """A mean difference, and the half width of its interval, None if there is none."""

    mean: float
    half: float | None

    @property
    def verdict(self) -> str:
        """ "better", "worse" or "cannot be told": whether the interval has 0 in it."""
        if self.half is None or abs(self.mean) <= self.half:
            return "cannot be told"
        return "better" if self.mean > 0 else "worse"


@dataclasses.dataclass(frozen=True)
class Spread:
    """A standard deviation between seeds, common to many groups, with its degrees of freedom."""

    deviation: float
    degrees: int


def paired(change: Values, baseline: Values) -> Difference | None:
    """The mean difference over the seeds that both have; None if there are none.

    The interval is Student's, of the differences of the pairs; there is none for a single pair.
    """
    seeds = sorted(change.keys() & baseline.keys())
    if not seeds:
        return None
    differences = np.array([change[seed] - baseline[seed] for seed in seeds])
    mean, count = float(differences.mean()), len(seeds)
    if count < 2:
        return Difference(mean, None)
    error = float(differences.std(ddof=1)) / count**0.5
    return Difference(mean, quantile(count - 1) * error)


def pooled(groups: Sequence[Values]) -> Spread | None:
    """The standard deviation between seeds that groups have in common.

    Two seeds say next to nothing about the spread of one change, but many changes with two seeds
    say a lot about the spread that all of them share. It is assumed that seeds scatter the result
    of each change about as much; then a difference is as sure as this spread and the number of
    seeds on both sides make it. None unless at least `FEWEST_TO_POOL` groups have two seeds.
    """
    several = [np.array(list(group.values())) for group in groups if len(group) > 1]
    if len(several) < FEWEST_TO_POOL:
        return None
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in several)
    degrees = sum(len(values) - 1 for values in several)
    return Spread((squares / degrees) ** 0.5, degrees)


def unpaired(change: Values, baseline: Values, spread: Spread) -> Difference | None:
    """The difference of the means over all seeds, with the interval of a common spread.

    Runs of equal seed are not paired: all changes would share the luck of the baseline's few seeds,
    and the spread of the differences would seem surer than it is. None if a side has no run.
    """
    if not change or not baseline:
        return None
    mean = float(np.mean(list(change.values())) - np.mean(list(baseline.values())))
    error = spread.deviation * (1 / len(change) + 1 / len(baseline)) ** 0.5
    return Difference(mean, quantile(spread.degrees) * error)


@functools.cache
def quantile(degrees: int, level: float = LEVEL) -> float:
    """The t that Student's distribution stays below in absolute value with probability `level`.

    With t = sqrt(degrees) tan(angle) its density is a power of the cosine, which is summed here.
    """
    angles = np.linspace(0, np.pi / 2, 20_001)
    density = np.cos(angles) ** (degrees - 1)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(degrees**0.5 * np.tan(np.interp(level, below / below[-1], angles)))
