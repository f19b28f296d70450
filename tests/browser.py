"""A headless Chromium for tests of pages: what a page is after its scripts have run."""

import os
import shutil
import subprocess

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def rendered(url, profile, *, milliseconds=8000):
    """The document at `url` as html, after so many milliseconds of the page's own time."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    command = [program, "--headless", "--disable-gpu", "--no-first-run"]
    command += ["--no-sandbox"] if os.getuid() == 0 else []
    command += [f"--user-data-dir={profile}", f"--virtual-time-budget={milliseconds}"]
    done = subprocess.run(
        [*command, "--dump-dom", url], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
