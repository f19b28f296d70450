"""How the benchmarks measure a time and print it."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable

import jax

from jaxdet import backend


def median_ms(function: Callable, *arguments, repeats: int) -> float:
    """Median milliseconds until the result of a call is ready, without compilation."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def seconds_in_turn(programs: dict[str, Callable], *, repeats: int) -> dict[str, list[float]]:
    """Seconds per call of every program, measured `repeats` times.

    The programs alternate, so that all run on the machine in the same state. A program takes the
    number of calls to make before it waits: one, or on an accelerator twenty, so that the device is
    as busy as in training.
    """
    calls = 1 if backend.target() == "cpu" else 20
    for run in programs.values():
        run(2)  # to compile, and to warm up
    times = {what: [] for what in programs}
    for _ in range(repeats):
        for what, run in programs.items():
            start = time.perf_counter()
            run(calls)
            times[what].append((time.perf_counter() - start) / calls)
    return times


def report(name: str, value: float, unit: str, **more) -> None:
    """Print a figure as one JSON line, with the machine that it was measured on."""
    machine = f"{jax.devices()[0].device_kind}, {platform.machine()}, {os.cpu_count()} cores"
    figure = {"name": name, "value": round(value, 3), "unit": unit, **more}
    print(json.dumps(figure | {"machine": machine, "jax": jax.__version__}), flush=True)
