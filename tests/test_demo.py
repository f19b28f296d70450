"""The demo's server, asked by program and by a browser, with a detector that finds red areas."""

import base64
import concurrent.futures
import http.client
import json
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest
from browser import rendered
from conftest import ROOT

from jaxdet import types, visualize
from jaxdet.demo import __main__
from jaxdet.demo import server as demo


class RedFinder:
    """Finds the extent of what is pure red, as class 1, and a faint class 0 everywhere."""

    classes = ("nothing", "röd")

    def __init__(self):
        self.busy = self.most = 0

    def detect(self, images):
        self.busy += 1
        self.most = max(self.most, self.busy)
        time.sleep(0.01)
        self.busy -= 1
        return [self._one(image) for image in images]

    def _one(self, image):
        rows, columns = np.nonzero((image[..., 0] > 200) & (image[..., 1:].sum(-1) < 100))
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        boxes = np.array([box, [0, 0, image.shape[1], image.shape[0]]], np.float32)
        return types.ImageDetections(boxes, np.array([0.8, 0.2], np.float32), np.array([1, 0]))


@pytest.fixture
def server():
    with demo.Server(RedFinder(), port=0) as server:
        poll = {"poll_interval": 0.01}  # what `shutdown` waits for
        threading.Thread(target=server.serve_forever, kwargs=poll, daemon=True).start()
        yield server
        server.shutdown()


def picture(box=(20, 10, 60, 40), ending=".png", size=(80, 100)):
    image = np.full((*size, 3), 120, np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = (0, 0, 255)  # OpenCV's red
    return cv2.imencode(ending, image)[1].tobytes()


def post(server, body, path="detect"):
    """Status and answer."""
    try:
        with urllib.request.urlopen(server.url + path, data=body, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize("ending", [".png", ".bmp", ".webp"])
def test_detect_answers_with_boxes_in_pixels(server, ending):
    assert post(server, picture(ending=ending)) == (
        200,
        {
            "width": 100,
            "height": 80,
            "boxes": [[20, 10, 60, 40], [0, 0, 100, 80]],
            "names": ["röd", "nothing"],
            "scores": [0.8, 0.2],
        },
    )


def test_fifty_at_once_are_answered_and_the_detector_sees_one_at_a_time(server):
    boxes = [(i, 10, i + 9, 20) for i in range(50)]
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda box: post(server, picture(box)), boxes))
    assert [(status, tuple(answer["boxes"][0])) for status, answer in answers] == [
        (200, box) for box in boxes
    ]
    assert server.detector.most == 1


PNG = picture()
PNG = picture()


def ask(server, path="model", host="localhost", body=None):
    """Status and answer of a request that names a host."""
    connection = http.client.HTTPConnection(*server.server_address)
    connection.putrequest("POST" if body else "GET", f"/{path}", skip_host=True)
    for name, value in (("Host", host), ("Content-Length", body and len(body))):
        if value is not None:
            connection.putheader(name, str(value))
    connection.endheaders(body)
    response = connection.getresponse()
    status, answer = response.status, response.read()
    connection.close()
    return status, json.loads(answer) if answer[:1] == b"{" else answer


LOCAL = ("localhost", "LOCALHOST:1234", "127.0.0.1", "127.0.0.1:80", "127.0.0.2")
LOCAL += ("[::1]:8000", "[::1]")
FOREIGN = ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "x", "", None)
FOREIGN += ("192.168.1.5:8000", "10.0.0.1", "0.0.0.0", "[2001:db8::1]:8000", "localhost:8000.evil")


@pytest.mark.parametrize("host", LOCAL)
def test_requests_for_this_machine_are_answered(server, host):
    assert ask(server, host=host)[0] == ask(server, "", host=host)[0] == 200
    assert ask(server, "detect", host=host, body=PNG)[0] == 200


@pytest.mark.parametrize("host", FOREIGN)
def test_requests_that_name_another_host_are_refused(server, host):
    for path, body in (("", None), ("model", None), ("detect", PNG)):
        status, answer = ask(server, path, host=host, body=body)
        assert status == 403 and "expected http://127.0.0.1:" in answer["error"]


def test_a_server_that_was_opened_answers_all_hosts():
    with demo.Server(RedFinder(), port=0, host="0.0.0.0") as opened:
        threading.Thread(target=opened.serve_forever, args=(0.01,), daemon=True).start()
        assert ask(opened, host="my-machine.lan:8000")[0] == 200
        opened.shutdown()


def test_a_busy_port_names_the_flag(server, capsys):
    port = server.server_address[1]
    with pytest.raises(SystemExit, match=f"^jaxdet: port {port} is in use; .*--port={port + 1}"):
        __main__.main(["--workdir=nowhere", f"--port={port}"])  # before the detector is loaded
    for port in ("70000", "-1", "http"):
        with pytest.raises(SystemExit):
            __main__.main(["--workdir=nowhere", f"--port={port}"])
        assert f"'{port}' given, expected a port, at least 0" in capsys.readouterr().err


def test_labels_are_placed_for_the_size_that_is_asked_for(server):
    _, answer = post(server, picture(), path="detect?text=11")
    texts = [f"{n} {s:.2f}" for n, s in zip(answer["names"], answer["scores"], strict=True)]
    places = visualize.place_labels(answer["boxes"], texts, (100, 80), text_height=11)
    np.testing.assert_array_equal(answer["labels"], places)
    assert "labels" not in post(server, picture())[1]
    for text in ("0", "x", "-3", "99999"):
        status, answer = post(server, picture(), path=f"detect?text={text}")
        assert status == 400 and "1 to 1000" in answer["error"]


def test_the_page_knows_the_colours_of_all_drawings(server):
    said = ask(server)[1]
    assert said["colours"] == [visualize.css(visualize.class_colour(label)) for label in range(2)]
    assert set(said["inks"]) <= {"#000000", "#ffffff"} and said["about"] == []


BAD = {
    "empty": b"",
    "text": b"this is no picture",
    "a cut png": PNG[: len(PNG) // 2],
    "a cut jpeg": picture(ending=".jpg", size=(300, 300))[:-200],
    "html": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_with_a_reason(server, name):
    status, answer = post(server, BAD[name])
    assert status == 400 and len(answer["error"]) > 10
    assert post(server, picture())[0] == 200  # and the next is served


def test_large_uploads_are_refused(server):
    status, answer = post(server, bytes(demo.MAX_BYTES + 1))
    assert status == 413 and "at most 16,777,216" in answer["error"]


def test_small_files_of_very_many_pixels_are_refused(server, monkeypatch):
    monkeypatch.setattr(demo, "MAX_PIXELS", 7_999)
    status, answer = post(server, picture())
    assert status == 413 and "100 x 80 pixels" in answer["error"]


def test_other_requests_are_refused(server):
    assert post(server, b"x", path="elsewhere")[0] == 404
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(server.url + "etc/passwd")
    connection = http.client.HTTPConnection(*server.server_address)
    connection.putrequest("POST", "/detect")
    connection.endheaders()
    assert connection.getresponse().status == 411
    connection.close()


def test_a_body_that_ends_early_is_refused(server):
    with socket.create_connection(server.server_address) as client:
        client.sendall(
            b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nshort"
        )
        client.shutdown(socket.SHUT_WR)
        assert client.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_a_client_that_leaves_early_is_no_error(server, capsys):
    server.detector.detect = lambda images: time.sleep(0.1) or RedFinder().detect(images)
    head = f"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(PNG)}\r\n\r\n"
    for _ in range(3):
        with socket.create_connection(server.server_address) as client:
            reset = struct.pack("ii", 1, 0)  # closing resets the connection
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            client.sendall(head.encode() + PNG)
    time.sleep(0.5)
    assert "Traceback" not in capsys.readouterr().err and post(server, PNG)[0] == 200


def test_it_is_served_to_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1"


# What a visitor does: waits for the class list, drops images, moves the slider, unticks a class,
# drops a file that is no image, goes back to the first one, copies, and turns the camera on.
DRIVER = """<script>
  const wait = () => new Promise(resolve => setTimeout(resolve, 50));
  async function until(done) { while (!done()) await wait(); }
  const texts = () => [...document.querySelectorAll("#boxes text")].map(node => node.textContent);
  function slide(value) {
    byId("threshold").value = value;
    byId("threshold").dispatchEvent(new Event("input"));
  }
  function dropFiles(...files) {
    const transfer = new DataTransfer();
    files.forEach(file => transfer.items.add(file));
    drop.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, cancelable: true,
      bubbles: true}));
  }
  const idle = async () => { await wait(); await queue; };
  let copied = "";
  Object.defineProperty(navigator, "clipboard", {value: {writeText: async t => { copied = t; }}});
  // A camera that sees a red rectangle. A real stream would not keep to the browser's virtual time.
  const camera = {getUserMedia: async () => new MediaStream()};
  Object.defineProperty(navigator, "mediaDevices", {value: camera});
  Object.defineProperty(byId("video"), "videoWidth", {value: 100});
  Object.defineProperty(byId("video"), "videoHeight", {value: 80});
  byId("video").play = async () => {};
  CanvasRenderingContext2D.prototype.drawImage = function () {
    this.fillStyle = "#ff0000";
    this.fillRect(30, 20, 40, 30);
  };
  (async () => {
    await until(() => document.querySelectorAll("#classes input").length === 2);
    const bytes = Uint8Array.from(atob("PICTURE"), letter => letter.charCodeAt(0));
    const image = name => new File([bytes], name);
    dropFiles(image("one.png"));
    await until(() => texts().length && byId("image").complete);
    const said = {steps: [texts()], title: byId("name").textContent,
      about: [...document.querySelectorAll("#about span")].map(node => node.textContent)};
    slide(0.1);
    said.steps.push(texts());
    document.querySelectorAll("#classes input")[1].click();
    said.steps.push(texts());
    const box = document.querySelector("#boxes rect").getBoundingClientRect();
    const stage = byId("image").getBoundingClientRect();
    said.covers = Math.abs(box.width - stage.width) < 4 && Math.abs(box.top - stage.top) < 4;
    dropFiles(new File(["text"], "two.txt"));
    await until(() => byId("message").className === "error");
    Object.assign(said, {message: byId("message").textContent, after: texts(),
      stays: byId("image").getAttribute("src") === items[0].url && !byId("stage").hidden});
    dropFiles(image("three.png"), new File([""], "empty.png"), image("four.png"));
    await idle();
    said.strip = [...byId("strip").children].map(button => button.title);
    byId("strip").children[1].click();
    byId("copy").click();
    await until(() => copied);
    said.copied = JSON.parse(copied);
    byId("camera").click();
    await until(() => current.name === "camera");
    byId("keep").click();
    said.kept = [items.length, current.name, byId("camera").textContent, stream];
    said.list = byId("count").textContent;
    said.tooWide = document.documentElement.scrollWidth > innerWidth;
    document.body.append(Object.assign(document.createElement("pre"),
      {id: "said", textContent: JSON.stringify(said)}));
  })();
</script>"""


def test_the_page_works_in_a_browser(server, tmp_path, monkeypatch):
    server.about = ["my run", "ssd with vgg16", "AP 71.7 % on val"]
    driver = DRIVER.replace("PICTURE", base64.b64encode(picture()).decode())
    page = tmp_path / "demo.html"
    page.write_text(demo.PAGE.read_text().replace("</body>", driver + "</body>"))
    monkeypatch.setattr(demo, "PAGE", page)
    shown = rendered(server.url, tmp_path / "profile", milliseconds=60_000)
    said = json.loads(re.search(r'<pre id="said">(.*?)</pre>', shown)[1])
    assert said["title"] == "my run"
    assert said["about"] == ["ssd with vgg16", "AP 71.7 % on val", "2 classes"]
    assert said["steps"] == [["röd 0.80"], ["nothing 0.20", "röd 0.80"], ["nothing 0.20"]]
    assert said["covers"] and not said["tooWide"]
    assert said["message"].startswith("two.txt cannot be used: this is not an image")
    assert said["message"].endswith("The image before it stays.")
    assert said["after"] == ["nothing 0.20"] and said["stays"]
    assert said["strip"] == ["one.png", "three.png", "four.png"]
    only = dict(boxes=[[0, 0, 100, 80]], names=["nothing"], scores=[0.2])
    assert said["copied"] == {"file": "three.png", "width": 100, "height": 80} | only
    assert said["kept"] == [4, "camera frame 4", "Camera", None]


def test_the_page_loads_nothing_from_elsewhere():
    page = demo.PAGE.read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert set(re.findall(r"https?://[^\s\"]*", page)) == {"http://www.w3.org/2000/svg"}


def test_the_command_serves_a_trained_detector(trained):
    command = [sys.executable, "-m", "jaxdet.demo", f"--workdir={trained[0]}", "--port=0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = iter(process.stdout.readline, "")
            url = next(line for line in lines if line.startswith("http://127.0.0.1:")).split()[0]
            with urllib.request.urlopen(f"{url}model") as response:
                said = json.load(response)
            assert "disc" in said["classes"] and said["about"][0] == trained[0].name
            assert said["about"][1:3] == ["ssd with plain", "trained on shapes_train, 6 steps"]
            assert re.fullmatch(r"AP \d+\.\d % on shapes_val", said["about"][3])
            with urllib.request.urlopen(f"{url}detect", data=picture()) as response:
                answer = json.load(response)
        finally:
            process.terminate()
    assert (answer["width"], answer["height"]) == (100, 80)
    assert len(answer["boxes"]) == len(answer["names"]) == len(answer["scores"])
    boxes = np.array(answer["boxes"]).reshape(-1, 4)
    assert (boxes >= 0).all() and (boxes <= [100, 80, 100, 80]).all()


def test_a_workdir_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="^jaxdet: no checkpoint in"):
        __main__.main([f"--workdir={tmp_path}", "--port=0"])
