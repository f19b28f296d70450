"""Try a detector on your own images in a local web page.

    python -m jaxdet.demo --workdir=DIR [--port=8000]
    python -m jaxdet.demo --workdir=runs/quickstart

serves a page to this machine only: drop an image, see the detections, move the score threshold,
choose classes. Programs can `POST /detect` with an image file as the body:

    curl --data-binary @image.jpg http://127.0.0.1:8000/detect

The answer is `{"width", "height", "boxes", "names", "scores"}`, highest score first, with boxes as
x1 y1 x2 y2 in pixels of the image. A body that is not an image, or is too large, gets a 4xx status
and `{"error"}`.
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
HOST = "127.0.0.1"  # not open to other machines: there is no password
MAX_BYTES = 16 * 2**20  # of an upload
MAX_PIXELS = 50_000_000  # of an image: a small file can decompress to very many
_DRAINED_BYTES = 8 * MAX_BYTES  # of a refused upload; browsers send it all before they read


class Refused(Exception):
    """The refusal of a request, with an HTTP error status and a reason."""

    def __init__(self, status: HTTPStatus, reason: str):
        super().__init__(reason)
        self.status = status


class Server(ThreadingHTTPServer):
    """Answers each request in its own thread; the detector runs on one image at a time.

    `detector` has `classes` and `detect(images) -> list[ImageDetections]`. Port 0 is any free port.
    """

    daemon_threads = True
    request_queue_size = 128  # waiting connections; the standard library's 5 turn others away

    def __init__(self, detector: Any, *, port: int):
        self._detector, self._lock = detector, threading.Lock()
        super().__init__((HOST, port), Handler)

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def describe(self) -> dict[str, Any]:
        """What the page needs to know about the detector."""
        return {"classes": list(self._detector.classes), "max_bytes": MAX_BYTES}

    def detect(self, encoded: bytes) -> dict[str, Any]:
        """The detections in an image file; raises `Refused` if it is not one or is too large."""
        _check_size(encoded)
        with self._lock:  # also around decoding: an image takes up to 3 * MAX_PIXELS bytes
            try:
                image = decode_full(encoded)
            except ValueError as error:
                raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
            (detections,) = self._detector.detect([image])
        return {
            "width": image.shape[1],
            "height": image.shape[0],
            "boxes": np.round(detections.boxes.astype(float), 2).tolist(),
            "names": [self._detector.classes[label] for label in detections.labels],
            "scores": np.round(detections.scores.astype(float), 4).tolist(),
        }


def _check_size(encoded: bytes) -> None:
    """Raises `Refused` unless it is an image of at most MAX_PIXELS; reads only the header."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            width, height = image.size
    except (UnidentifiedImageError, Image.DecompressionBombError, ValueError, OSError):
        raise Refused(HTTPStatus.BAD_REQUEST, "the body is not an image file") from None
    if width * height > MAX_PIXELS:
        reason = f"the image has {width} x {height} pixels, expected at most {MAX_PIXELS:,}"
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
        self.close_connection = True  # the rest of a refused body must not be read as a request
        try:
            if self.path != "/detect":
                raise Refused(HTTPStatus.NOT_FOUND, f"no {self.path}, expected /detect")
            self._json(HTTPStatus.OK, self.server.detect(self._body()))
        except Refused as error:
            self._json(error.status, {"error": str(error)})

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise Refused(
                HTTPStatus.LENGTH_REQUIRED, "no Content-Length, expected an image file with one"
            )
        if int(length) > MAX_BYTES:
            self._drain(int(length))
            reason = f"{int(length):,} bytes, expected at most {MAX_BYTES:,}"
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Refused(HTTPStatus.BAD_REQUEST, f"received only {len(body):,} of {length} bytes")
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
        """Logs nothing: a line for every request would hide what matters."""


def main(argv: Sequence[str] | None = None) -> int:
    """Serves the page until interrupted."""
    return cli.call("demo", __doc__, _add_arguments, _demo, argv)


def _demo(args: argparse.Namespace) -> None:
    detector = jaxdet.load(args.workdir)
    server = Server(detector, port=args.port)
    print("compiling ...", flush=True)
    detector.detect([np.zeros((8, 8, 3), np.uint8)])  # or the first visitor would wait for it
    print(f"{server.url} (Ctrl+C to stop)", flush=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, help="folder of a trained detector")
    parser.add_argument(
        "--port", type=cli.port, default=8000, help="default 8000; 0 for any free port"
    )


if __name__ == "__main__":
    sys.exit(main())
