"""The server behind the demo's page: one detector, asked by a page or by programs."""

import errno
import io
import ipaddress
import json
import re
import sys
import threading
import urllib.parse
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxdet import visualize
from jaxdet.data.decode import decode_full

PAGE = Path(__file__).with_name("page.html")
HOST = "127.0.0.1"  # not open to other machines: there is no password
FORMATS = "JPEG, PNG, WebP, BMP, TIFF or GIF"
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

    `detector` has `classes` and `detect(images) -> list[ImageDetections]`; `about` are sentences
    on it for the page, the first its name. Port 0 is any free port. OSError, with what to do, if
    the port cannot be had.
    """

    daemon_threads = True
    request_queue_size = 128  # waiting connections; the standard library's 5 turn others away

    def __init__(
        self, detector: Any = None, *, port: int, host: str = HOST, about: Sequence[str] = ()
    ):
        self.detector, self.about, self._lock = detector, list(about), threading.Lock()
        self.is_open = not _is_local(host)
        try:
            super().__init__((host, port), Handler)
        except OSError as error:
            raise OSError(_no_port(host, port, error)) from None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing if a client has gone before its answer came; else prints the traceback."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{self.server_address[0]}:{self.server_address[1]}/"

    def describe(self) -> dict[str, Any]:
        """What the page needs to know about the detector."""
        classes = list(self.detector.classes)
        colours = [visualize.class_colour(label) for label in range(len(classes))]
        return {
            "classes": classes,
            "colours": [visualize.css(colour) for colour in colours],
            "inks": [visualize.css(visualize.ink(colour)) for colour in colours],
            "about": self.about,
            "max_bytes": MAX_BYTES,
            "formats": FORMATS,
        }

    def detect(self, encoded: bytes, *, text_height: int | None = None) -> dict[str, Any]:
        """The detections in an image file; raises `Refused` if it is not one or is too large.

        With `text_height` also where labels with letters of so many pixels go.
        """
        _check_size(encoded)
        with self._lock:  # also around decoding: an image takes up to 3 * MAX_PIXELS bytes
            try:
                image = decode_full(encoded)
            except ValueError as error:
                raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
            (detections,) = self.detector.detect([image])
        height, width = image.shape[:2]
        names = [self.detector.classes[label] for label in detections.labels]
        boxes, scores = detections.boxes.astype(float), detections.scores.astype(float)
        answer = {
            "width": width,
            "height": height,
            "boxes": np.round(boxes, 2).tolist(),
            "names": names,
            "scores": np.round(scores, 4).tolist(),
        }
        if text_height is not None:
            texts = [visualize.label_text(*pair) for pair in zip(names, scores, strict=True)]
            places = visualize.place_labels(boxes, texts, (width, height), text_height=text_height)
            answer["labels"] = [None if np.isnan(p).any() else p.tolist() for p in places]
        return answer


def _is_local(host: str) -> bool:
    """Whether a host name, without a port, is this machine's own."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _no_port(host: str, port: int, error: OSError) -> str:
    reasons = {errno.EADDRINUSE: "is in use", errno.EACCES: "needs an administrator's rights"}
    if error.errno in reasons:
        other = port + 1 if 1024 <= port < 65535 else 8000
        return (
            f"port {port} {reasons[error.errno]}; choose another, such as --port={other}, "
            "or --port=0 for any free one"
        )
    return f"--host={host} cannot be served: {error.strerror or error}"


def _check_size(encoded: bytes) -> None:
    """Raises `Refused` unless it is an image of at most MAX_PIXELS; reads only the header."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            width, height = image.size
    except (UnidentifiedImageError, Image.DecompressionBombError, ValueError, OSError):
        reason = f"this is not an image that can be read, expected {FORMATS}"
        raise Refused(HTTPStatus.BAD_REQUEST, reason) from None
    if width * height > MAX_PIXELS:
        reason = f"the image has {width} x {height} pixels, expected at most {MAX_PIXELS:,}"
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)


class Handler(BaseHTTPRequestHandler):
    """`GET /`, `GET /model` and `POST /detect`."""

    server: Server
    timeout = 30  # seconds that a client may be silent
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        if not self._is_for_this_machine():
            return
        if path == "/":
            self._answer(HTTPStatus.OK, PAGE.read_bytes(), "text/html; charset=utf-8")
        elif path == "/model":
            self._json(HTTPStatus.OK, self.server.describe())
        else:
            self._json(HTTPStatus.NOT_FOUND, {"error": f"no page {self.path}, expected /"})

    def do_POST(self) -> None:
        self.close_connection = True  # the rest of a refused body must not be read as a request
        path, _, query = self.path.partition("?")
        if not self._is_for_this_machine():
            return
        try:
            if path != "/detect":
                raise Refused(HTTPStatus.NOT_FOUND, f"no {self.path}, expected /detect")
            text_height = _text_height(query)
            self._json(HTTPStatus.OK, self.server.detect(self._body(), text_height=text_height))
        except Refused as error:
            self._json(error.status, {"error": str(error)})

    def _is_for_this_machine(self) -> bool:
        """Refuses a request that names another host, unless the server is open to other machines.

        The browser of somebody who visits a hostile web site can be made to send requests here
        (DNS rebinding); they still name the site.
        """
        host = self.headers.get("Host", "").strip()
        name = re.fullmatch(r"(\[[^]]*]|[^:]*)(:\d*)?", host)
        if self.server.is_open or (name and _is_local(name[1])):
            return True
        self.close_connection = True
        reason = f"the request is for {host or 'no host'}, expected {self.server.url}"
        self._json(HTTPStatus.FORBIDDEN, {"error": reason})
        return False

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


def _text_height(query: str) -> int | None:
    """The number N of "text=N", None if there is no such parameter; raises `Refused`."""
    text = dict(urllib.parse.parse_qsl(query)).get("text")
    if text is None:
        return None
    if not (text.isdecimal() and 1 <= int(text) <= 1000):
        raise Refused(HTTPStatus.BAD_REQUEST, f"text={text}, expected 1 to 1000 pixels")
    return int(text)
