"""The demo's server, asked by program and by a browser, with a detector that finds red areas."""

import base64
import concurrent.futures
import http.client
import json
import re
import socket
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

from jaxdet import demo, types


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
    assert server._detector.most == 1


PNG = picture()
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
        client.sendall(b"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nshort")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_it_is_served_to_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1"


# What a visitor does: waits for the class list, drops a picture, moves the slider, unticks a class.
DRIVER = """<script>
  const wait = () => new Promise(resolve => setTimeout(resolve, 50));
  async function until(done) { while (!done()) await wait(); }
  const texts = () => [...document.querySelectorAll("#boxes text")].map(node => node.textContent);
  function slide(value) {
    byId("threshold").value = value;
    byId("threshold").dispatchEvent(new Event("input"));
  }
  function dropFile(file) {
    const transfer = new DataTransfer();
    transfer.items.add(file);
    drop.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, cancelable: true}));
  }
  (async () => {
    await until(() => document.querySelectorAll("#classes input").length === 2);
    const bytes = Uint8Array.from(atob("PICTURE"), letter => letter.charCodeAt(0));
    dropFile(new File([bytes], "one.png"));
    await until(() => texts().length && byId("image").complete);
    const steps = [texts()];
    slide(0.1);
    steps.push(texts());
    document.querySelectorAll("#classes input")[1].click();
    steps.push(texts());
    const box = document.querySelector("#boxes rect").getBoundingClientRect();
    const image = byId("image").getBoundingClientRect();
    dropFile(new File(["text"], "two.txt"));
    await until(() => byId("message").className === "error");
    const said = {steps, message: byId("message").textContent, after: texts(),
      covers: Math.abs(box.width - image.width) < 4 && Math.abs(box.top - image.top) < 4};
    document.body.append(Object.assign(document.createElement("pre"),
      {id: "said", textContent: JSON.stringify(said)}));
  })();
</script>"""


def test_the_page_works_in_a_browser(server, tmp_path, monkeypatch):
    driver = DRIVER.replace("PICTURE", base64.b64encode(picture()).decode())
    page = tmp_path / "demo.html"
    page.write_text(demo.PAGE.read_text().replace("</body>", driver + "</body>"))
    monkeypatch.setattr(demo, "PAGE", page)
    shown = rendered(server.url, tmp_path / "profile")
    said = json.loads(re.search(r'<pre id="said">(.*?)</pre>', shown)[1])
    assert said["steps"] == [["röd 0.80"], ["nothing 0.20", "röd 0.80"], ["nothing 0.20"]]
    assert said["message"] == "two.txt: the body is not an image file" and said["after"] == []
    assert said["covers"]


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
                assert "disc" in json.load(response)["classes"]
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
        demo.main([f"--workdir={tmp_path}"])
