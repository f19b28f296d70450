"""The metrics that a run has logged, as curves."""

from pathlib import Path

from etils import epath

from jaxdet.training import logs

Curves = dict[str, dict[str, tuple[list[int], list[float]]]]  # kind -> name -> steps, values

_NEW_NAMES = {"pictures_per_second": "images_per_second"}  # old logs use the former


def read_curves(folder: Path) -> Curves:
    """The curves in a workdir's metrics.jsonl; empty if there is no such file (yet)."""
    curves: Curves = {}
    for record in logs.Lines(epath.Path(folder) / logs.METRICS, write=False).records:
        of_kind = curves.setdefault(record["kind"], {})
        for name in [name for name in record if name not in ("kind", "step")]:
            steps, values = of_kind.setdefault(_NEW_NAMES.get(name, name), ([], []))
            steps.append(record["step"])
            values.append(record[name])
    return curves
