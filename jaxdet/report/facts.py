"""What a report says about a run: its model, data, recipe and origin."""

import html
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxdet import build, data, recipes
from jaxdet.data import builder
from jaxdet.engine import evaluate
from jaxdet.report import markup
from jaxdet.report.evidence import Evidence
from jaxdet.training import origin, workdir

_ELSEWHERE = ("purpose", "init_from", "seed", "data.dir", "data.root")  # said by themselves
NOT_RECORDED = "not recorded: the run is older than origin.json"


def card(evidence: Evidence) -> str:
    """The facts as a list of terms, and the differences to the recipe that the run is based on."""
    terms = {**_model(evidence), **_data(evidence), **_run(evidence)}
    listed = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd></div>"
        for name, text in terms.items()
    )
    return f'<dl class="facts">{listed}</dl>{_recipe(evidence)}'


def _model(evidence: Evidence) -> dict[str, str]:
    recipe = evidence.recipe
    model = recipe.config["model"]
    parts = [part for part in model if isinstance(model[part], Mapping | list | tuple)]
    parts = [part for part in parts if part == "backbone" or part == "neck" or "head" in part]
    names = [
        f"{part.replace('_', ' ')} {' + '.join(build.names_of(model[part]))}" for part in parts
    ]
    (family,) = build.names_of(model["detector"])
    return {
        "Model": f"{family}: {', '.join(names)}; {parameters(recipe):,} parameters",
        "Protocol": f"{recipe.evaluation.metric_name.upper()} metric; {evaluate.protocol(recipe)}",
    }


def parameters(recipe: build.Recipe) -> int:
    """The number of parameters of a recipe's network."""
    shapes = jax.eval_shape(recipe.detector.init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def _data(evidence: Evidence) -> dict[str, str]:
    of, dataset = evidence.recipe.data, evidence.dataset
    imported = f"elsewhere: the weights were converted; the recipe is for {of.train}"
    return {
        "Evaluated on": f"{of.eval}: {_counts(dataset)}, {len(dataset.classes)} classes",
        "Trained on": _training_set(of) if evidence.step else imported,
    }


def _counts(dataset: data.Dataset) -> str:
    table = dataset.table
    difficult = int((table.difficult | table.crowd).sum())
    of_them = f" ({difficult:,} difficult or crowds)" if difficult else ""
    return f"{len(dataset):,} images, {len(table.labels):,} objects{of_them}"


def _training_set(of: build.Data) -> str:
    where = Path(of.dir).expanduser()
    if not all(builder.is_prepared(where, name.strip()) for name in of.train.split("+")):
        return f"{of.train}, which is not on this machine"
    return f"{of.train}: {_counts(data.open(of.train, **of.place))}"


def _run(evidence: Evidence) -> dict[str, str]:
    config, known = evidence.recipe.config, origin.read(evidence.workdir)
    last = {"Flags": shlex.join(known["flags"])} if "flags" in known else {}
    last |= {"Purpose": evidence.recipe.purpose} if evidence.recipe.purpose else {}
    if not evidence.step:
        began = known.get("began", NOT_RECORDED).replace("T", " ")
        return {"Converted": began, "Commit": _version(known), **last}
    schedule, optimiser = config["schedule"], build.names_of(config["optimiser"])[0]
    rate = f", peak rate {schedule['peak']:g}" if "peak" in schedule else ""
    how = f"{optimiser}, {schedule['name']}{rate}, {config['data']['batch_size']} images a step"
    return {
        "Checkpoint": f"step {evidence.step:,} of {schedule['steps']:,}; {how}",
        "Started from": config["init_from"] or "random weights",
        "Seed": str(config["seed"]),
        "Began": known.get("began", NOT_RECORDED).replace("T", " "),
        "Commit": _version(known),
        **last,
    }


def _version(known: Mapping[str, Any]) -> str:
    if "version" not in known:
        return NOT_RECORDED
    commit = known.get("commit", "none: jaxdet was installed, not a checkout")
    changed = ", with changes that were not committed" if commit.endswith("+") else ""
    return f"{commit.rstrip('+')}{changed}; jaxdet {known['version']}"


def _recipe(evidence: Evidence) -> str:
    """Which of our recipes a run follows, and every key in which it differs."""
    recorded = _recorded_recipe(origin.read(evidence.workdir).get("flags", []))
    own = _plain(evidence.recipe.config)
    differing = {name: _differences(each, own) for name, each in _recipes().items()}
    name = started = recorded.removeprefix("configs/").removesuffix(".py")
    if name not in differing:
        name = min(differing, key=lambda each: len(differing[each]))
    why = "" if started == name else ", the most similar of jaxdet's"
    why += f" (it was started with {recorded})" if recorded and why else ""
    rows = [[key, *map(str, values)] for key, values in differing[name].items()]
    if not rows:
        return markup.paragraph(f"The recipe is {name}{why}, unchanged.")
    table = markup.table(["key", name, "this run"], rows)
    changed = "1 key" if len(rows) == 1 else f"{len(rows)} keys"
    summary = f"The recipe is {name}{why}, with {changed} changed"
    return f"<details><summary>{html.escape(summary)}</summary>{table}</details>"


def _recorded_recipe(flags: Sequence[str]) -> str:
    """The value of --config among the flags of a program, "" if there is none."""
    for name, following in zip(flags, [*flags[1:], ""], strict=False):
        key, equals, value = name.lstrip("-").partition("=")
        if key == "config":
            return value if equals else following
    return ""


def _recipes() -> dict[str, dict[str, Any]]:
    """Our recipes, by name, as flat plain values."""
    return {name: _plain(recipes.read(name).to_dict()) for name in recipes.names()}


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as flat keys and values as JSON has them, without what is said elsewhere."""
    plain = {key: _as_json(value) for key, value in workdir.flat(config).items()}
    return {key: value for key, value in plain.items() if key not in _ELSEWHERE}


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_as_json(each) for each in value]
    return (
        {key: _as_json(each) for key, each in value.items()}
        if isinstance(value, Mapping)
        else value
    )


def _differences(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {
        key: (base.get(key, "(absent)"), own.get(key, "(absent)"))
        for key in sorted(base.keys() | own.keys())
        if base.get(key, "(absent)") != own.get(key, "(absent)")
    }
