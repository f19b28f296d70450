"""From config to values: a wrong name or type is refused, with the nearest name."""

import types as python_types

import pytest
from ml_collections import ConfigDict

from jaxdet import build, schedules


def scale(x: int, *, factor: float, sides: tuple[int, ...] = (), exact: bool = False):
    return x, factor, sides, exact


MODULE = python_types.SimpleNamespace(scale=scale)


def test_calls_with_the_blocks_keys():
    block = ConfigDict({"name": "scale", "factor": 2, "sides": [1, 2]})
    assert build.named(MODULE, block, "a", {"x": 1}) == (1, 2, (1, 2), False)


def test_lists_become_tuples_at_any_depth():
    assert build.as_tuples([[1, [2]], 3]) == ((1, (2,)), 3)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            {"name": "skale", "factor": 1},
            r"config\.a\.name: there is no 'skale'; did you mean 'scale'",
        ),
        ({"name": "scale", "factr": 1}, r"config\.a: there is no 'factr'; did you mean 'factor'"),
        ({"name": "scale", "factor": "1"}, r"config\.a\.factor is '1', expected float"),
        ({"name": "scale", "factor": True}, r"config\.a\.factor is True, expected float"),
        ({"name": "scale", "factor": 1, "exact": 1}, r"config\.a\.exact is 1, expected bool"),
        ({"name": "scale", "factor": 1, "sides": 3}, r"config\.a\.sides is 3, expected tuple"),
        ({"name": "scale"}, r"config\.a lacks 'factor'"),
        ({"name": "scale", "factor": 1, "x": 2}, r"there is no 'x'"),  # not for the config to give
    ],
)
def test_refuses(block, message):
    with pytest.raises(ValueError, match=message):
        build.named(MODULE, ConfigDict(block), "a", {"x": 1})


def test_schedules_go_by_name():
    block = ConfigDict({"name": "cosin", "steps": 3, "peak": 1.0})
    with pytest.raises(ValueError, match="did you mean 'cosine'"):
        build.named(schedules, block, "schedule", {})
