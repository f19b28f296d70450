"""Studies: a recipe, named changes to it, and with how many seeds each is trained.

A study is a recipe whose `get_config` takes the name of a change, and whose module has `CHANGES`,
name -> `Change`, and `SEEDS`. So each of its runs is an ordinary one:
`--config=FILE:CHANGE --config.seed=SEED`.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from jaxdet import recipes
from jaxdet.choices import check_name

BASELINE = "baseline"


@dataclasses.dataclass(frozen=True)
class Change:
    """What differs from the baseline: values by key, "model.neck", whole blocks among them.

    `published` is what others measured of it, with the source.
    """

    purpose: str
    keys: Mapping[str, Any]
    published: str = ""

    @property
    def trains(self) -> bool:
        """Whether it changes the training, and not only how the result is evaluated."""
        return any(not key.startswith("evaluation.") for key in self.keys)


@dataclasses.dataclass(frozen=True)
class Seeds:
    """The number of seeds of the baseline, and of each change."""

    baseline: int
    change: int


@dataclasses.dataclass(frozen=True)
class Training:
    """One run of a study: a change, or the baseline, and a seed."""

    change: str
    seed: int

    @property
    def name(self) -> str:
        """Its folder in that of the study."""
        return f"{self.change}/{self.seed}"


@dataclasses.dataclass(frozen=True)
class Study:
    """A study: its file, which `recipes.find` finds, changes by name, and seeds."""

    file: str
    changes: Mapping[str, Change]
    seeds: Seeds

    def trainings(self, only: Sequence[str] = ()) -> Iterator[Training]:
        """All runs, seed by seed, so that whatever is finished is a table with fewer seeds.

        In each round the baseline is first. What only changes the evaluation is last, and has a run
        for each of the baseline's seeds, since it starts from their checkpoints. `only` names the
        changes to run; ValueError, with the closest name, if there is no such change.
        """
        for name in only:
            check_name(name, (BASELINE, *self.changes), f"the study {self.file}")
        trained = [name for name, change in self.changes.items() if change.trains]
        evaluated = [name for name in self.changes if name not in trained]
        for seed in range(max(self.seeds.baseline, self.seeds.change)):
            names = [BASELINE, *evaluated] if seed < self.seeds.baseline else []
            names[1:1] = trained if seed < self.seeds.change else []
            yield from (Training(name, seed) for name in names if not only or name in only)


def read(text: str) -> Study:
    """The study in a recipe, by name or file; ValueError if it is no study."""
    found = recipes.namespace(text)
    changes, seeds = found.get("CHANGES"), found.get("SEEDS")
    if not isinstance(changes, Mapping) or not isinstance(seeds, Seeds):
        raise ValueError(f"{text} is not a study: expected CHANGES and SEEDS, as in configs/study")
    return Study(text, changes, seeds)


def changed(config: ConfigDict, changes: Mapping[str, Change], name: str) -> ConfigDict:
    """The config of the baseline with the change of that name, for `get_config` of a study.

    ValueError, with the closest name, if there is none, or if there is no block for a key.
    """
    if name == BASELINE:
        config.purpose = "the baseline"
        return config
    check_name(name, (BASELINE, *changes), "the study")
    config.purpose = changes[name].purpose
    for key, value in changes[name].keys.items():
        *blocks, last = key.split(".")
        block = config
        for part in blocks:
            if part not in block:
                raise ValueError(f"the change {name!r} sets {key!r}, but there is no {part!r}")
            block = block[part]
        if last in block:
            del block[last]  # ml_collections keeps the type of a key
        block[last] = value
    return config
