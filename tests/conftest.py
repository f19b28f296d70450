"""Settings and fixtures of all tests: strict broadcasting, eight devices, cheap compilation."""

import gc
import os
import pathlib

import jax
import programs
import pytest

from jaxdet import data

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

# LLVM in a hurry saves a third of the tests' time: most programs run only a few times. XLA's older
# loops (--xla_cpu_use_fusion_emitters=false) compile faster still, but gain nothing over all tests,
# and their tanh is only good to 1e-5.
HURRY = "--xla_backend_optimization_level=0"
SETTINGS = {  # also for the programs that tests start
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {HURRY}",
}
os.environ.update(SETTINGS)
jax.config.update("jax_compilation_cache_dir", SETTINGS["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 8)


gc.set_threshold(100_000, 20, 20)  # by default Python looks for garbage an eighth of the time


def pytest_collection_modifyitems(items):
    """Files with slow tests come first, so that the workers end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="module", autouse=True)
def forgotten():
    """What a file compiled is dropped after it: kept, it would fill 10 GB by the end."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """Real pictures, weights and reference numbers, which not every machine has."""
    if not SHARED.exists():
        pytest.skip(f"{SHARED.name}/ with real data is not beside this checkout")
    return SHARED


SMALL = [
    "--config.model.size=64",
    "--config.model.backbone.channels=(8,8,8,8,8)",
    "--config.model.neck.channels=(8,)",
    "--config.data.batch_size=8",
    "--config.evaluation.batch_size=40",
    "--config.evaluation.max_kept=20",
    "--config.schedule.warmup=2",
    "--config.schedule.steps=6",
    "--config.every.checkpoint=100",
    "--config.every.log=2",
]


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """The generated sets, prepared once."""
    folder = tmp_path_factory.mktemp("prepared")
    for name in ("shapes_train", "shapes_val"):
        data.open(name, dir=folder)
    return folder


def run(*arguments, module="jaxdet.main", ok=True, **environment):
    """Runs a module of ours; its output, stdout and stderr together."""
    code, said = programs.run(module, list(map(str, arguments)), cwd=str(ROOT), **environment)
    assert (code == 0) == ok, said[-3000:]
    return said


def train(shapes, workdir, *arguments, **options):
    return run(
        "--config=configs/quickstart.py",
        f"--workdir={workdir}",
        f"--config.data.dir={shapes}",
        *SMALL,
        *arguments,
        **options,
    )


@pytest.fixture(scope="session")
def trained(shapes, tmp_path_factory):
    """A workdir after six steps, and what the command said."""
    workdir = tmp_path_factory.mktemp("trained") / "run"
    return workdir, train(shapes, workdir)
