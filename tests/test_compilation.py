"""Compiled programs are kept by commands, and it is said while one is made; progress off a tty."""

import io
import os
import subprocess
import sys

import jax
import jax.numpy as jnp

from jaxdet.training import compilation, progress

PROGRAM = """
import sys
from jaxdet.training import compilation
compilation.keep()
import jax
print("cache", jax.config.jax_compilation_cache_dir, jax.config.jax_compilation_cache_max_size)
"""


def kept(**environment):
    """What a new process says, and where it keeps its programs."""
    variables = {k: v for k, v in os.environ.items() if k != compilation.VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**variables, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip(), done.stderr


def test_programs_are_kept_in_the_users_cache_which_is_said_once(tmp_path):
    where, said = kept(XDG_CACHE_HOME=str(tmp_path))
    (folder,) = (tmp_path / "jaxdet" / "xla").iterdir()
    assert where == f"cache {folder} {compilation.LARGEST}"
    assert said.startswith(f"compiled programs are kept in {folder}, at most 2 GiB; JAX_COMP")
    assert kept(XDG_CACHE_HOME=str(tmp_path)) == (where, "")


def test_jaxs_own_variable_wins_even_if_empty(tmp_path):
    home = {"XDG_CACHE_HOME": str(tmp_path / "home")}
    where, said = kept(**home, **{compilation.VARIABLE: str(tmp_path / "mine")})
    assert where.startswith(f"cache {tmp_path / 'mine'} ") and not said
    assert kept(**home, **{compilation.VARIABLE: ""})[0].split()[:2] in (["cache", "-1"], ["cache"])
    assert not (tmp_path / "home").exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    where, said = kept(XDG_CACHE_HOME=str(tmp_path / "file"))
    assert where.startswith("cache None") and said.startswith("compiled programs are not kept: ")


def test_a_program_is_announced_once_for_each_shape(capsys):
    add = compilation.Announced(jax.jit(lambda a, b: a + b), "the sum")
    for size in (2, 2, 3):
        assert add(1.0, jnp.ones(size)).shape == (size,)
    assert add.took > 0
    add(1.0, jnp.ones(2))
    assert add.took == 0
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" in ")[0] for line in said] == [
        "compiling the sum ...",
        "compiled the sum",
    ] * 2


def test_off_a_terminal_a_bar_is_lines():
    stream = io.StringIO()
    with progress.bar(total=1000, stream=stream, desc="training", unit="step") as shown:
        for _ in range(1000):
            shown.update()
            shown.set_postfix({"loss": "1.0"}, refresh=False)
    lines = stream.getvalue().splitlines()
    assert "\r" not in stream.getvalue() and len(lines) <= 3  # not one for every refresh
    assert "1000/1000" in lines[-1] and "loss=1.0" in lines[-1]


def test_time_left_out_does_not_count():
    with progress.bar(total=10, stream=io.StringIO()) as shown:
        shown.start_t -= 100  # as if the first step had taken so long
        shown.update()
        assert shown.format_dict["elapsed"] > 99
        progress.leave_out(shown, 100)
        assert shown.format_dict["elapsed"] < 50
