"""A headless Chromium for tests of pages: what a page is after its scripts have run."""

import contextlib
import os
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def rendered(url, profile, *, milliseconds=8000):
    """The document at `url` as html, after so many milliseconds of the page's own time; None is
    once it has loaded."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    command = [program, "--headless", "--disable-gpu", "--no-first-run"]
    command += ["--no-sandbox"] if os.getuid() == 0 else []
    command += [f"--user-data-dir={profile}"]
    command += [f"--virtual-time-budget={milliseconds}"] if milliseconds else []
    done = subprocess.run(
        [*command, "--dump-dom", url], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


# Until it is answered, the page counts as loading: WebAssembly takes real time, not the page's own.
_WAITS = """<img src="wait" hidden><script>
new MutationObserver(() => document.querySelector("%s") && fetch("done"))
  .observe(document, { subtree: true, childList: true, attributes: true });
</script>"""


@contextlib.contextmanager
def served(folder, page, until):
    """The address of `folder`, whose page loads until it has an element that the selector `until`
    describes."""
    (folder / "index.html").write_text(page.replace("</html>", _WAITS % until + "</html>"))
    done = threading.Event()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/done":
                done.set()
            elif self.path == "/wait":
                done.wait(60)
            super().do_GET()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
