"""Studies: a recipe, named changes to it, and with how many seeds each is trained.

A study is a recipe whose `get_config` takes the name of a change, and whose module has `CHANGES`,
name -> `Change`, and `SEEDS`. So each of its runs is an ordinary one:
`--config=FILE:CHANGE --config.seed=SEED`.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from jaxdet import recipes
from jaxdet.choices import check_name
from jaxdet.training import logs, workdir

BASELINE = "baseline"
FILE = "study.json"  # in the folder of a study's runs: what its table says besides their numbers
SPENT = "spent.json"  # in the workdir of a run: the seconds that it took, starts and all


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
    trains: bool = True  # False: it evaluates the weights of the baseline's run of the same seed

    @property
    def name(self) -> str:
        """Its folder in that of the study."""
        return f"{self.change}/{self.seed}"

    @property
    def weights_of(self) -> "Training":
        """The run whose weights it evaluates: itself, or the baseline's."""
        return self if self.trains else Training(BASELINE, self.seed)


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
            for name in names:
                if not only or name in only:
                    yield Training(name, seed, trains=name not in evaluated)


def read(text: str) -> Study:
    """The study in a recipe, by name or file; ValueError if it is no study."""
    found = recipes.namespace(text)
    changes, seeds = found.get("CHANGES"), found.get("SEEDS")
    if not isinstance(changes, Mapping) or not isinstance(seeds, Seeds):
        raise ValueError(f"{text} is not a study: expected CHANGES and SEEDS, as in configs/study")
    return Study(text, changes, seeds)


def record(folder: epath.Path, study: Study) -> None:
    """Writes what the study's recipe says of its changes into the folder of its runs."""
    known = {
        name: {"purpose": each.purpose, "published": each.published, "trains": each.trains}
        for name, each in study.changes.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    content = {"recipe": study.file, "changes": known}
    workdir.write_text(folder / FILE, json.dumps(content, indent=2) + "\n")


def recorded(folder: epath.Path) -> dict[str, Any]:
    """What `record` has written; ValueError if it has not."""
    path = folder / FILE
    if not path.exists():
        raise ValueError(f"{folder} holds no study: there is no {FILE}, which jaxdet sweep writes")
    return json.loads(path.read_text())


def add_spent(folder: epath.Path, **seconds: float) -> None:
    """Adds the seconds that one start of a run took to those of the starts before it."""
    total = {name: spent(folder).get(name, 0.0) + more for name, more in seconds.items()}
    workdir.write_text(folder / SPENT, json.dumps(total) + "\n")


def spent(folder: epath.Path) -> dict[str, float]:
    """The seconds that a run took, "processor" and "wall"; empty if no sweep has started it."""
    path = folder / SPENT
    return json.loads(path.read_text()) if path.exists() else {}


def finished(folder: epath.Path) -> bool:
    """Whether the log of a run says that its last step was evaluated."""
    if not (folder / workdir.CONFIG).exists():
        return False
    last = workdir.stored_config(folder)["schedule"]["steps"]
    records = logs.Lines(folder / logs.METRICS, write=False).records
    return any(each["kind"] == "eval" and each["step"] >= last for each in records)


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
