"""Checkpoints that are damaged, cannot be written, or are the best so far."""

import contextlib
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdet.training import best_checkpoint, checkpoint
from jaxdet.training.state import TrainState

NOISE = np.random.default_rng(0).normal(size=200_000).astype(np.float32)  # cannot be compressed


class Iterator:
    """Stands for the input iterator: it has a position."""

    def __init__(self, position=0):
        self.position = position

    def get_state(self):
        return {"next_index": self.position}

    def set_state(self, state):
        self.position = state["next_index"]


def state_at(step):
    variables = {"params": {"w": jnp.asarray(NOISE + step)}, "batch_stats": {}}
    return TrainState(jnp.asarray(step, jnp.int32), variables, optimiser=(), ema=None)


def save(folder, *steps, keep=5):
    checkpoints = checkpoint.Checkpoints(folder, keep=keep)
    for step in steps:
        checkpoints.save(state_at(step), Iterator(step), {"config": {"seed": step}})
    checkpoints.close()


def truncate(folder):
    """Cuts off the second half of the largest file."""
    largest = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    with largest.open("r+b") as file:
        file.truncate(largest.stat().st_size // 2)


def restore(folder):
    checkpoints, iterator = checkpoint.Checkpoints(folder), Iterator()
    state = checkpoints.restore(state_at(0), iterator)
    checkpoints.close()
    return state, iterator.position


DAMAGES = {
    "cut": truncate,
    "no description": lambda folder: shutil.rmtree(folder / "description"),
    "empty description": lambda folder: next(
        p for p in (folder / "description").iterdir() if p.is_file()
    ).write_text(""),
    "no arrays": lambda folder: shutil.rmtree(folder / "state"),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in orbax
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, caplog, damage):
    save(tmp_path, 1, 2, 3)
    DAMAGES[damage](tmp_path / "checkpoints" / "3")

    description, variables, step = checkpoint.read(tmp_path)  # as jaxdet.load does
    assert step == 2 and description == {"config": {"seed": 2}}
    np.testing.assert_array_equal(variables["params"]["w"], NOISE + 2)
    assert f"{tmp_path}/checkpoints/3 cannot be read" in caplog.text
    assert checkpoint.steps(tmp_path) == [1, 2, 3]  # reading changes nothing

    state, position = restore(tmp_path)  # as a resumed run does
    assert int(state.step) == 2 and position == 2
    assert "checkpoints/3 was renamed to damaged-3-1" in caplog.text
    assert (tmp_path / "checkpoints" / "damaged-3-1").is_dir()
    assert checkpoint.steps(tmp_path) == [1, 2]
    save(tmp_path, 3)  # the step comes again
    assert restore(tmp_path)[1] == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_where_none_can_be_read_nothing_is_renamed(tmp_path):
    save(tmp_path, 1, 2)
    for step in "12":
        truncate(tmp_path / "checkpoints" / step)
    for attempt in (restore, checkpoint.read):
        with pytest.raises(ValueError, match="checkpoints/2 cannot be read.*checkpoints/1 cannot"):
            attempt(tmp_path)
    assert checkpoint.steps(tmp_path) == [1, 2]
    with pytest.raises(ValueError, match="no checkpoint in"):
        checkpoint.read(tmp_path / "none")


@contextlib.contextmanager
def files_up_to(size):
    """The system refuses longer files, as it refuses all on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_cannot_be_written_is_one_line_and_the_old_checkpoint_stays(tmp_path):
    save(tmp_path, 1)
    checkpoints = checkpoint.Checkpoints(tmp_path)
    with files_up_to(100_000), pytest.raises(OSError, match="could not write a check") as caught:
        checkpoints.save(state_at(2), Iterator(2), {})
        checkpoints.wait()
    said = str(caught.value)
    assert f"{tmp_path}/checkpoints" in said and "checkpoint 1 is intact" in said
    assert "File too large" in said and "GiB free" in said and "\n" not in said
    assert checkpoint.read(tmp_path)[2] == 1
    state, position = restore(tmp_path)
    assert int(state.step) == 1 and position == 1
    save(tmp_path, 2)  # there is room again: what was half written is swept up
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"1", "2"}


def test_loads_whatever_the_devices_it_was_trained_on(tmp_path):
    sharding = jax.sharding.NamedSharding(
        jax.sharding.Mesh(np.array(jax.devices()), ("data",)), jax.sharding.PartitionSpec()
    )
    checkpoints = checkpoint.Checkpoints(tmp_path)
    checkpoints.save(jax.device_put(state_at(1), sharding), Iterator(1), {})
    checkpoints.close()
    state, _ = restore(tmp_path)  # on one device
    assert len(state.variables["params"]["w"].sharding.device_set) == 1
    np.testing.assert_array_equal(state.variables["params"]["w"], NOISE + 1)


def offer(folder, step, value, measure="AP on val"):
    return best_checkpoint.offer(
        folder,
        value,
        measure=measure,
        state=state_at(step),
        iterator=Iterator(step),
        description={"config": {"seed": step}},
    )


def test_the_best_is_kept_until_a_better_one_comes(tmp_path):
    place = tmp_path / "best"
    assert offer(tmp_path, 1, 0.25)
    assert not offer(tmp_path, 2, 0.125)
    assert checkpoint.read(place)[2] == 1
    assert not offer(tmp_path, 3, 0.25)  # the first of equals, so that a repeated step is no news
    assert offer(tmp_path, 4, 0.5)
    description, variables, step = checkpoint.read(place)
    assert step == 4 and checkpoint.steps(place) == [4]
    assert description == {"config": {"seed": 4}, "best": {"measure": "AP on val", "value": 0.5}}
    np.testing.assert_array_equal(variables["params"]["w"], NOISE + 4)


def test_the_best_by_another_measure_or_a_damaged_one_gives_way(tmp_path):
    assert offer(tmp_path, 8, 0.5)
    assert offer(tmp_path, 4, 0.25, measure="AP on test")  # an earlier step, on resuming
    assert checkpoint.read(tmp_path / "best")[2] == 4
    shutil.rmtree(tmp_path / "best" / "checkpoints" / "4" / "description")
    assert offer(tmp_path, 6, 0.125, measure="AP on test")
    assert checkpoint.read(tmp_path / "best")[2] == 6
