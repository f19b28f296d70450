"""Early stopping: whether the evaluations of a run have stopped getting better.

It is decided by the records in the log alone, which a resumed run has as if never interrupted; so a
run that is started again is stopped at the same step.
"""

from collections.abc import Mapping, Sequence
from typing import Any


def spent(records: Sequence[Mapping[str, Any]], name: str, patience: int) -> str | None:
    """A line that says why a run ends here, or None while it does not.

    `records` are those of the log, in order. It ends once `patience` evaluations (0: never) in
    succession have not had a greater number `name` than the best before them.
    """
    done = [r for r in records if r["kind"] == "eval" and name in r]
    best = max(range(len(done)), key=lambda i: _rank(done[i][name]), default=None)
    if not patience or best is None or len(done) - 1 - best < patience:
        return None
    return (
        f"stopped early at step {done[-1]['step']:,}: no better {name} than "
        f"{100 * done[best][name]:.2f} of step {done[best]['step']:,} in {len(done) - 1 - best} "
        "evaluations; config.every.patience=0, or a greater number, goes on"
    )


def _rank(value: float) -> float:
    return value if value == value else float("-inf")  # nan is never the best
