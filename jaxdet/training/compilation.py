"""Compiling takes from seconds to minutes: programs are kept on disk, and a line says so."""

import hashlib
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from jaxdet import cache
from jaxdet.training import parallel

VARIABLE = "JAX_COMPILATION_CACHE_DIR"
LARGEST = 2 * 2**30  # bytes in the folder; those used longest ago are deleted first
SHORTEST = 0.2  # seconds; what compiles faster is not worth a file


def keep() -> None:
    """Keeps compiled programs for the next command, in `~/.cache/jaxdet/xla` and says so once.

    Every command calls it; `jaxdet.load` does not, since a library should not write files that its
    caller did not ask for. $JAX_COMPILATION_CACHE_DIR names another folder, or, if empty, none, and
    is then JAX's own affair. A folder that cannot be written is passed over, which one line says.
    """
    if VARIABLE in os.environ or jax.config.jax_compilation_cache_dir:
        return
    folder = _folder()
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} cannot be written to")
    except OSError as error:
        print(f"compiled programs are not kept: {error}; {VARIABLE}=FOLDER does", file=sys.stderr)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", LARGEST)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST)
    if new:
        print(
            f"compiled programs are kept in {folder}, at most {LARGEST / 2**30:g} GiB; "
            f"{VARIABLE} names another folder",
            file=sys.stderr,
        )


def _folder() -> Path:
    """A folder in the cache for each kind of CPU.

    XLA's programs for one CPU can use instructions that another, which shares the home directory,
    does not have.
    """
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else [platform.processor()]
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    kind = hashlib.sha256(f"{platform.machine()} {flags}".encode()).hexdigest()[:8]
    return cache.folder("xla") / f"{platform.machine()}-{kind}"


class Announced:
    """A compiled function of (variables, batch) that says when a call has to compile it first.

    `what` names it: "the training step". `took` are the seconds that the last call spent compiling,
    0 if it did not; a function is compiled for every shape of the batch.
    """

    def __init__(self, function: Callable, what: str):
        self.took = 0.0
        self._function, self._what = function, what
        self._known: set[Any] = set()

    def __call__(self, variables: Any, *batch: Any) -> Any:
        """Calls the function."""
        shapes = tuple(leaf.shape for leaf in jax.tree.leaves(batch))
        if shapes in self._known:
            self.took = 0.0
            return self._function(variables, *batch)
        _say(f"compiling {self._what} ...")
        began = time.perf_counter()
        result = self._function(variables, *batch)  # returns once it is compiled and started
        self.took = time.perf_counter() - began
        _say(f"compiled {self._what} in {self.took:.1f} s")
        self._known.add(shapes)
        return result


def _say(line: str) -> None:
    if parallel.is_first():
        tqdm.write(line, file=sys.stderr)
