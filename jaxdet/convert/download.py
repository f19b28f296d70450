"""Downloads published weights once, into a cache, and verifies them."""

import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path

import filelock
from tqdm import tqdm

from jaxdet import cache
from jaxdet.convert.published import Published

SECONDS = 10  # without an answer, after which it gives up
TRIES = 3  # each goes on where the last one broke off
_BLOCK = 2**20


def fetch(published: Published) -> Path:
    """The file of published weights, downloaded unless the cache has it; it is verified either way.

    Prints the address, the licence and the checksum. ValueError in one line, which says where to
    put the file by hand, if it cannot be downloaded; if the checksum is another one.
    """
    file = cache.folder("weights") / published.file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(file.parent / ".lock"):
            if not file.exists():
                _download(published, file)
    except (OSError, http.client.HTTPException) as error:
        raise ValueError(
            f"{published.name} cannot be downloaded from {published.address} ({_reason(error)}); "
            f"without a network, get it elsewhere and put it at {file}"
        ) from error
    found = _sha256(file)
    if not found.startswith(published.sha256):
        raise ValueError(
            f"{file} has the SHA-256 {found[: len(published.sha256)]}, expected "
            f"{published.sha256} of {published.name}; remove it to download it again"
        )
    return file


def _download(published: Published, file: Path) -> None:
    checksum = f"SHA-256 {published.sha256}" if published.sha256 else "no checksum published"
    print(
        f"downloading {published.name} from {published.address}\n"
        f"licence {published.licence}; {checksum}; to {file}",
        flush=True,
    )
    part = file.with_name(f"{file.name}.part")
    for last in (False,) * (TRIES - 1) + (True,):
        try:
            _go_on(published.address, part)
            break
        except (http.client.IncompleteRead, ConnectionError, TimeoutError):
            if last:
                raise
    found = _sha256(part)
    if not found.startswith(published.sha256):
        part.unlink()
        raise OSError(f"its SHA-256 begins with {found[:8]}, expected {published.sha256[:8]}")
    if not published.sha256:
        print(f"SHA-256 {found} of {file.name}", flush=True)
    part.replace(file)


def _go_on(address: str, part: Path) -> None:
    """Downloads what the partial file lacks. IncompleteRead if the connection breaks."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={done}-"} if done else {})
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        goes_on = answer.status == http.client.PARTIAL_CONTENT
        length = answer.headers.get("Content-Length")
        done = done if goes_on else 0
        total = done + int(length) if length else None
        bar = dict(desc=part.stem, initial=done, total=total, unit="B", unit_scale=True)
        with part.open("ab" if goes_on else "wb") as file, tqdm(**bar, leave=False) as shown:
            while block := answer.read(_BLOCK):
                shown.update(file.write(block))
    size = part.stat().st_size
    if total is not None and size < total:
        raise http.client.IncompleteRead(b"", total - size)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, http.client.IncompleteRead):
        return f"the connection broke off {error.expected:,} bytes before the end"
    reason = str(getattr(error, "reason", "") or error)
    return (reason.splitlines() or [type(error).__name__])[0]
