"""Google Cloud Storage on this machine: gcp-storage-emulator, and what tensorstore needs beside.

The emulator neither says which generation of an object it sends, nor does it refuse to write over
another generation than the one that the writer has seen; tensorstore's databases rest on both. Nor
does it move objects, which gcsfs asks for, for half a minute, before it copies them.
"""

import contextlib
import functools
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

from gcp_storage_emulator import server
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects

BUCKET = "bucket"


@contextlib.contextmanager
def running(folder: Path) -> Iterator[str]:
    """Serves a bucket whose objects lie below `objects_in(folder)`; gives the server's address."""
    complete()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with server.create_server("127.0.0.1", port, default_bucket=BUCKET, data_dir=str(folder)):
        yield f"http://127.0.0.1:{port}"


def objects_in(folder: Path) -> Path:
    """Where the emulator keeps the objects of the bucket, as files under their names."""
    return folder / ".cloudstorage" / BUCKET


def environment(url: str) -> dict[str, str]:
    """With it gcsfs, tensorstore and google-cloud-storage ask the emulator, and nobody else."""
    return {
        "STORAGE_EMULATOR_HOST": url,
        "TENSORSTORE_GCS_HTTP_URL": url,
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "anyone",
        "FSSPEC_GCS_TOKEN": "anon",
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # it would ask over gRPC, for a minute
    }


def put(url: str, name: str, content: bytes) -> None:
    """Writes an object."""
    place = f"{url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}"
    _send(urllib.request.Request(place, content, {"Content-Type": "application/octet-stream"}))


def delete(url: str, name: str) -> None:
    """Deletes an object."""
    place = f"{url}/storage/v1/b/{BUCKET}/o/{urllib.parse.quote(name, safe='')}"
    _send(urllib.request.Request(place, method="DELETE"))


def _send(request: urllib.request.Request) -> None:
    with urllib.request.urlopen(request, timeout=10):
        pass


@functools.cache
def complete() -> None:
    """Puts what is missing into the emulator, once."""
    wrapped = {objects.insert: _if_generation_matches, objects.delete: _if_generation_matches}
    wrapped |= {objects.get: _saying_generation, objects.download: _saying_generation}
    for _, handlers in server.HANDLERS:
        for method, handler in handlers.items():
            if handler in wrapped:
                handlers[method] = wrapped[handler](handler)
    name = r"(?P<object_id>.*[^/]+)/moveTo/o/(?P<dest_object_id>.*[^/]+)"
    move = rf"^/storage/v1/b/(?P<bucket_name>[-.\w]+)/o/{name}$", {server.POST: _move}
    server.HANDLERS = (move, *server.HANDLERS)


def _move(request, response, storage, *rest) -> None:
    request.params["dest_bucket_name"] = request.params["bucket_name"]
    objects.copy(request, response, storage)
    if response.status == HTTPStatus.OK:
        objects.delete(request, response, storage)


def _if_generation_matches(handler: Callable) -> Callable:
    def handle(request, response, storage, *rest):
        expected = request.query.get("ifGenerationMatch")
        if expected and expected[0] != _generation(request, storage):
            response.status = HTTPStatus.PRECONDITION_FAILED
            return
        handler(request, response, storage, *rest)

    return handle


def _saying_generation(handler: Callable) -> Callable:
    def handle(request, response, storage, *rest):
        handler(request, response, storage, *rest)
        response["X-Goog-Generation"] = _generation(request, storage)

    return handle


def _generation(request, storage) -> str:
    """Of the object that a request is about; 0 where there is none."""
    name = request.params.get("object_id") or request.query.get("name", [None])[0]
    name = name or request.data["meta"]["name"]  # of an upload in several parts
    try:
        return storage.get_file_obj(request.params["bucket_name"], name)["generation"]
    except NotFound:
        return "0"
