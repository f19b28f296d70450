"""Cameras and streams: what is detected is new, however slow the detector is."""

import json
import os
import signal
import threading
import time

import cv2
import numpy as np
import pytest
from test_predict import RedFinder, picture, save_video

from jaxdet import predict
from jaxdet.predict import videos


class Camera:
    """Gives `count` frames at `rate` a second, each with its number in its pixels; never waits."""

    def __init__(self, count, rate=200.0):
        self.count, self.rate, self.given, self.released = count, rate, 0, False
        self.start = time.monotonic()

    def get(self, _):
        return self.rate

    def read(self):
        if self.given == self.count:
            return False, None
        time.sleep(max(0, self.start + self.given / self.rate - time.monotonic()))
        self.given += 1
        image = picture((4, 4, 20, 20), 32, 32)[..., ::-1].copy()
        image[31, 31] = self.given - 1
        return True, image

    def release(self):
        self.released = True


class Slow(RedFinder):
    """Takes ten frames' time for one."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def detect(self, images, **settings):
        time.sleep(0.05)
        self.seen += [int(image[31, 31, 0]) for image in images]
        return super().detect(images, **settings)


def test_only_the_newest_frame_waits():
    camera, ages = Camera(60), []
    with videos.Stream(camera) as stream:
        for frame in stream:
            ages.append(camera.given - 1 - frame.number)
            assert int(frame.image[31, 31, 0]) == frame.number
            time.sleep(0.03)  # six frames
    assert camera.released
    assert stream.count == 60
    assert max(ages) <= 15  # not one more for each frame that was missed, 50 at the end
    assert 2 <= len(ages) < 60


def test_a_stream_is_detected_recorded_and_drawn_in_its_own_time(tmp_path, monkeypatch, capsys):
    camera, slow = Camera(80), Slow()
    monkeypatch.setattr(cv2, "VideoCapture", lambda source: opened.append(source) or camera)
    camera.isOpened, opened = lambda: True, []
    address = "rtsp://me:secret@cam1:554/hall/2"
    summary = predict.predict(slow, address, tmp_path, score=0.3)
    assert opened == [address]
    assert slow.batches == [1] * summary.images
    assert 3 <= summary.images < 80
    assert f"{summary.images} frames, {80 - summary.images} dropped" in capsys.readouterr().out
    info = json.loads((tmp_path / "image_info.json").read_text())
    assert [each["frame"] for each in info["images"]] == slow.seen
    assert {each["file_name"] for each in info["images"]} == {"cam1-hall-2"}
    assert "secret" not in (tmp_path / "detections.json").read_text()
    seconds = [each["seconds"] for each in info["images"]]
    assert 0 <= seconds[0] < 1 and (np.diff(seconds) > 0).all()
    monkeypatch.undo()
    video = cv2.VideoCapture(str(tmp_path / "cam1-hall-2.mp4"))
    length = video.get(cv2.CAP_PROP_FRAME_COUNT) / video.get(cv2.CAP_PROP_FPS)
    assert length == pytest.approx(seconds[-1], abs=0.05)


def test_a_video_file_can_be_a_stream(tmp_path):
    save_video(tmp_path / "v.avi", [picture((8 * i, 8, 8 * i + 8, 24), 64, 96) for i in range(9)])
    with videos.Stream(cv2.VideoCapture(str(tmp_path / "v.avi"))) as stream:
        numbers = [frame.number for frame in stream]
    assert stream.count == 9
    assert numbers[-1] == 8  # the last frame is never lost
    assert numbers == sorted(set(numbers))


def test_an_interrupt_ends_the_stream_and_the_results_are_written(tmp_path, monkeypatch):
    camera = Camera(10_000)
    camera.isOpened = lambda: True
    monkeypatch.setattr(cv2, "VideoCapture", lambda source: camera)
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    before = signal.getsignal(signal.SIGINT)
    summary = predict.predict(Slow(), "0", tmp_path, score=0.3, save=["json"])
    assert signal.getsignal(signal.SIGINT) is before
    assert 1 <= summary.images < 10_000
    info = json.loads((tmp_path / "image_info.json").read_text())
    assert {each["file_name"] for each in info["images"]} == {"camera-0"}


def test_what_is_a_stream(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert all(map(videos.is_stream, ["0", "2", "rtsp://a/b", "http://a/b.mjpg"]))
    (tmp_path / "0").mkdir()
    assert not any(map(videos.is_stream, ["0", "photos", "a.jpg", "C:\\a.jpg"]))
    for source, what in {"rtsp://127.0.0.1:1/x": "stream rtsp", "77": "camera 77"}.items():
        with pytest.raises(ValueError, match=f"OpenCV cannot open the {what}"):
            predict.predict(RedFinder(), source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
