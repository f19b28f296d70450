"""Runs modules of ours as `python -m` does, without two seconds of imports for each.

They are forks of a server that has imported what they share, and has not yet asked JAX for devices.
"""

import atexit
import multiprocessing
import os
import runpy
import sys
import tempfile

_SHARED = ["jaxdet.cli", "jaxdet.engine.watch", "jaxdet.engine.inference", "jaxdet.engine.train"]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(_SHARED)


def run(module: str, arguments: list[str], *, cwd: str, **environment: str) -> tuple[int, str]:
    """Exit status and output, stdout and stderr together, of `python -m module arguments`.

    With variables added to the environment it starts afresh: what is imported has read the old one.
    """
    with tempfile.NamedTemporaryFile("r") as output:
        all_of_it = (module, arguments, cwd, environment, output.name)
        process = _context.Process(target=_main, args=all_of_it)
        process.start()
        process.join(300)
        if process.is_alive():
            process.kill()
        process.join()
        return process.exitcode, output.read()


def _main(module, arguments, cwd, environment, output):
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.chdir(cwd)
    if environment:
        again = [sys.executable, "-m", module, *arguments]
        os.execve(sys.executable, again, {**os.environ, **environment})
    sys.path[0] = cwd
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        sys.stdout.flush()
        atexit._run_exitfuncs()
