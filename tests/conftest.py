"""Settings for every test: strict broadcasting, eight fake devices, a compilation cache."""

import os
import pathlib

import jax
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

CACHE = {  # also for the programs that tests start
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
}
os.environ.update(CACHE)
jax.config.update("jax_compilation_cache_dir", CACHE["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 8)


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """Real pictures, weights and reference numbers, which not every machine has."""
    if not SHARED.exists():
        pytest.skip(f"{SHARED.name}/ with real data is not beside this checkout")
    return SHARED
