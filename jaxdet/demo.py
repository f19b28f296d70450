"""A local page to try a detector with your own pictures.

    python -m jaxdet.demo --workdir=DIR [--port=8000]

serves a page on this machine alone: drop a picture, see the boxes, slide the score threshold,
choose classes. The same by program: `POST /detect` with a picture file as the body,

    curl --data-binary @picture.jpg http://127.0.0.1:8000/detect

answers `{"width", "height", "boxes", "names", "scores"}` by falling score, boxes as x1 y1 x2 y2 in
pixels of the picture. What is no picture, or too large, is answered by 4xx and `{"error"}`.
"""

import argparse
import io
import json
import sys
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

import jaxdet
from jaxdet import cli
from jaxdet.data.decode import decode_full

PAGE = Path(__file__).with_name("demo.html")
HOST = "127.0.0.1"  # of no other machine: there is no password
MAX_BYTES = 16 * 2**20  # of an upload
MAX_PIXELS = 50_000_000  # of a picture: a small file can unpack to very many
_DRAINED_BYTES = 8 * MAX_BYTES  # of a refused upload; a browser reads no answer before it has sent


class Refused(Exception):
    """A request that is answered with an error status and a reason."""

    def __init__(self, status: HTTPStatus, reason: str):
        super().__init__(reason)
        self.status = status


class Server(ThreadingHTTPServer):
    """Answers requests in threads of their own; the detector sees one picture at a time.

    `detector` has `classes` and `detect(images) -> list[Found]`. Port 0 takes any that is free.
    """

    daemon_threads = True
    request_queue_size = 128  # connections that wait; the standard library's 5 turns others away

    def __init__(self, detector: Any, *, port: int):
        self._detector, self._lock = detector, threading.Lock()
        super().__init__((HOST, port), Handler)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def describe(self) -> dict[str, Any]:
        """What the page must know."""
        return {"classes": list(self._detector.classes), "max_bytes": MAX_BYTES}

    def detect(self, encoded: bytes) -> dict[str, Any]:
        """What is in a picture file. Raises `Refused` for what is none."""
        _check_size(encoded)
        with self._lock:  # also around decoding: a picture takes up to 3 * MAX_PIXELS bytes
            try:
                image = decode_full(encoded)
            except ValueError as error:
                raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
            (found,) = self._detector.detect([image])
        return {
            "width": image.shape[1],
            "height": image.shape[0],
            "boxes": np.round(found.boxes.astype(float), 2).tolist(),
            "names": [self._detector.classes[label] for label in found.labels],
            "scores": np.round(found.scores.astype(float), 4).tolist(),
        }


def _check_size(encoded: bytes) -> None:
    """Reads the header alone."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            width, height = image.size
    except (UnidentifiedImageError, Image.DecompressionBombError, ValueError, OSError):
        raise Refused(HTTPStatus.BAD_REQUEST, "the body is no picture file") from None
    if width * height > MAX_PIXELS:
        reason = f"the picture has {width} x {height} pixels, expected at most {MAX_PIXELS:,}"
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)


class Handler(BaseHTTPRequestHandler):
    """`GET /`, `GET /model` and `POST /detect`."""

    server: Server
    timeout = 30  # seconds that a client may be silent
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/":
            self._answer(HTTPStatus.OK, PAGE.read_bytes(), "text/html; charset=utf-8")
        elif self.path == "/model":
            self._json(HTTPStatus.OK, self.server.describe())
        else:
            self._json(HTTPStatus.NOT_FOUND, {"error": f"no page {self.path}, expected /"})

    def do_POST(self) -> None:
        self.close_connection = True  # what is left of a refused body must not be the next request
        try:
            if self.path != "/detect":
                raise Refused(HTTPStatus.NOT_FOUND, f"no {self.path}, expected /detect")
            self._json(HTTPStatus.OK, self.server.detect(self._body()))
        except Refused as error:
            self._json(error.status, {"error": str(error)})

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "a picture file with its Content-Length")
        if int(length) > MAX_BYTES:
            self._drain(int(length))
            reason = f"{int(length):,} bytes, expected at most {MAX_BYTES:,}"
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Refused(HTTPStatus.BAD_REQUEST, f"only {len(body):,} of {length} bytes came")
        return body

    def _drain(self, length: int) -> None:
        left = min(length, _DRAINED_BYTES)
        while left and (chunk := self.rfile.read(min(left, 2**16))):
            left -= len(chunk)

    def _json(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        self._answer(status, json.dumps(content).encode(), "application/json")

    def _answer(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing: a line for every request hides what matters."""


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until it is interrupted."""
    return cli.call("demo", __doc__, _add_arguments, _demo, argv)


def _demo(args: argparse.Namespace) -> None:
    detector = jaxdet.load(args.workdir)
    server = Server(detector, port=args.port)
    print("compiling ...", flush=True)
    detector.detect([np.zeros((8, 8, 3), np.uint8)])  # or the first visitor would wait for it
    print(f"{server.url} (Ctrl+C ends)", flush=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, help="folder of a trained detector")
    parser.add_argument("--port", type=int, default=8000, help="default 8000; 0 for any free one")


if __name__ == "__main__":
    sys.exit(main())
