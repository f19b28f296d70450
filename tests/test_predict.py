"""The predict program with a detector that finds red rectangles: files in, files out."""

import json
import pathlib

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

import jaxdet
from jaxdet import data, predict
from jaxdet.engine.result import Result


class RedFinder:
    """Finds the extent of what is pure red, as class 1 with score 0.8, and a faint class 0."""

    classes = ("nothing", "röd")

    def __init__(self):
        self.batches = []

    def detect(self, images, *, score=0.0, batch_size=8, **settings):
        assert len(images) <= batch_size
        self.batches.append(len(images))
        found = [self._one(image) for image in images]
        return [each.select(each.scores > score) for each in found]

    def _one(self, image):
        assert image.dtype == np.uint8
        pixels = image.astype(int)
        rows, columns = np.nonzero((pixels[..., 0] > 200) & (pixels[..., 1:].sum(-1) < 100))
        faint = [0, 0, image.shape[1], image.shape[0]]
        boxes, scores, labels = [faint], [0.1], [0]
        if len(rows):
            boxes.insert(0, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            scores, labels = [0.8, *scores], [1, *labels]
        columns = np.float32(boxes), np.float32(scores), np.int32(labels)
        return Result(*columns, self.classes)


def picture(box, height=60, width=80):
    image = np.full((height, width, 3), 120, np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = (255, 0, 0)
    return image


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image[..., ::-1])[1])


def save_video(path, frames, rate=12.5):
    codec = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), codec, rate, frames[0].shape[1::-1])
    for frame in frames:
        writer.write(frame[..., ::-1].copy())
    writer.release()


def run(source, output, **settings):
    detector = RedFinder()
    summary = predict.predict(
        detector, source, output, **{"score": 0.3, "batch_size": 2} | settings
    )
    detections = json.loads((output / "detections.json").read_text("utf-8"))
    info = json.loads((output / "image_info.json").read_text("utf-8"))
    return detector, summary, detections, info


def test_an_empty_batch_is_refused(tmp_path):
    save(tmp_path / "in" / "a.png", picture((10, 20, 30, 50)))
    with pytest.raises(ValueError, match="batch_size is 0, expected a whole number, at least 1"):
        run(tmp_path / "in", tmp_path / "out", batch_size=0)


def test_folder_is_mirrored_and_recorded(tmp_path):
    boxes = {
        "a.png": (10, 20, 30, 50),
        "b/a.png": (0, 0, 8, 8),
        "b/a.jpg": (16, 16, 64, 48),
        "b/c/é 1.BMP": (40, 30, 41, 31),
    }
    for name, box in boxes.items():
        save(tmp_path / "in" / name, picture(box))
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    detector, summary, detections, info = run(tmp_path / "in", tmp_path / "out")
    assert detector.batches == [2, 2]
    assert summary.skipped == 0
    assert [each["file_name"] for each in info["images"]] == sorted(boxes)
    assert [each["id"] for each in info["images"]] == [1, 2, 3, 4]
    assert {(each["width"], each["height"]) for each in info["images"]} == {(80, 60)}
    assert info["categories"] == [{"id": 1, "name": "nothing"}, {"id": 2, "name": "röd"}]
    for each, expected in zip(detections, info["images"], strict=True):
        assert each["image_id"] == expected["id"]
        assert each["category_id"] == 2
        assert each["score"] == 0.8
        x1, y1, x2, y2 = boxes[each["file_name"]]
        if not each["file_name"].endswith("jpg"):
            assert each["bbox"] == [x1, y1, x2 - x1, y2 - y1]
    written = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    assert written == {*boxes, "detections.json", "image_info.json"}
    drawn = data.read_image(tmp_path / "out" / "b" / "a.png")
    assert drawn.shape == (60, 80, 3)
    assert (drawn != picture(boxes["b/a.png"])).any()


def test_pycocotools_reads_the_two_files(tmp_path):
    for number in 7, 139:
        save(tmp_path / "in" / f"{number:012d}.png", picture((10, 20, 30, 50)))
    _, _, detections, info = run(tmp_path / "in", tmp_path / "out", score=0)
    assert [each["id"] for each in info["images"]] == [7, 139]  # the numbers in the names
    assert len(detections) == 4
    assert run(tmp_path / "in", tmp_path / "other", score=0.8)[2] == []  # above it
    truth = COCO(str(tmp_path / "out" / "image_info.json"))
    results = truth.loadRes(str(tmp_path / "out" / "detections.json"))
    assert [each["bbox"] for each in results.loadAnns(results.getAnnIds(139, catIds=2))] == [
        [10, 20, 20, 30]
    ]


def test_names_that_are_the_same_number_are_counted_instead(tmp_path):
    for name in "3.png", "b/03.png":
        save(tmp_path / "in" / name, picture((0, 0, 8, 8)))
    assert [each["id"] for each in run(tmp_path / "in", tmp_path / "out")[3]["images"]] == [1, 2]


def test_bad_files_are_named_counted_and_skipped(tmp_path, capsys):
    good, bad = tmp_path / "in" / "b.jpg", ["a.jpg", "c.jpg", "d.png", "e.avi"]
    save(good, picture((10, 20, 30, 50)))
    (good.parent / "a.jpg").write_bytes(b"")
    (good.parent / "c.jpg").write_bytes(good.read_bytes()[:400])
    (good.parent / "d.png").write_text("no picture")
    (good.parent / "e.avi").write_text("no video")
    _, summary, detections, info = run(good.parent, tmp_path / "out")
    assert summary.skipped == 4
    assert [each["file_name"] for each in info["images"]] == ["b.jpg"]
    assert len(detections) == 1
    said = capsys.readouterr().err
    for name in bad:
        assert said.count(str(good.parent / name)) == 1  # with the reason, and once
        assert f"skipped {good.parent / name}: " in said
        assert not (tmp_path / "out" / name).exists()


def test_single_file_with_another_suffix_is_tried(tmp_path):
    save(tmp_path / "in" / "x.png", picture((10, 20, 30, 50)))
    (tmp_path / "in" / "x.png").rename(tmp_path / "in" / "photo")
    _, _, detections, _ = run(tmp_path / "in" / "photo", tmp_path / "out")
    assert detections[0]["file_name"] == "photo"
    assert (tmp_path / "out" / "photo.png").is_file()


@pytest.mark.parametrize("name", ["clip.avi", "clip.mp4"])
def test_video_keeps_length_and_rate_and_gives_detections_per_frame(tmp_path, name):
    frames = [picture((8 * i, 16, 8 * i + 16, 32), 64, 96) for i in range(7)]
    save_video(tmp_path / "in.avi", frames)
    (tmp_path / "in").mkdir()
    (tmp_path / "in.avi").rename(tmp_path / "in" / name)
    detector, _, detections, info = run(tmp_path / "in", tmp_path / "out", batch_size=3)
    assert detector.batches == [3, 3, 1]
    assert [each["frame"] for each in detections] == list(range(7))
    assert [each["id"] for each in info["images"]] == list(range(1, 8))
    for i, each in enumerate(detections):
        assert each["file_name"] == name
        np.testing.assert_allclose(each["bbox"], [8 * i, 16, 16, 16], atol=2)  # MJPEG is lossy
    video = cv2.VideoCapture(str(tmp_path / "out" / name))
    assert video.get(cv2.CAP_PROP_FPS) == 12.5
    written = []
    while (frame := video.read())[0]:
        written.append(frame[1])
    assert len(written) == 7
    assert written[0].shape == (64, 96, 3)
    # Frame by frame, not the first one seven times: the red moves right.
    middles = [np.nonzero((f[24, :, 2] > 200) & (f[24, :, 1] < 80))[0].mean() for f in written]
    assert (np.diff(middles) > 4).all()


def test_video_that_ends_early_is_used_and_named(tmp_path, capsys):
    path = tmp_path / "in" / "clip.avi"
    path.parent.mkdir()
    save_video(path, list(np.random.default_rng(0).integers(0, 256, (20, 64, 96, 3), np.uint8)))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    _, summary, _, info = run(path.parent, tmp_path / "out")
    assert summary.skipped == 0
    count = len(info["images"])
    assert 5 < count < 15
    assert f"{path}: ends after {count} of 20 frames" in capsys.readouterr().err


def test_output_may_lie_in_the_input_but_not_hold_it(tmp_path):
    save(tmp_path / "in" / "a.png", picture((10, 20, 30, 50)))
    for output in tmp_path / "in", tmp_path / "in" / ".." / "in", tmp_path:
        with pytest.raises(ValueError, match="holds the input"):
            run(tmp_path / "in", output)
    for _ in range(2):  # the second time does not read what the first has written
        _, _, _, info = run(tmp_path / "in", tmp_path / "in" / "out")
        assert [each["file_name"] for each in info["images"]] == ["a.png"]
    with pytest.raises(ValueError, match="holds the input"):
        run(tmp_path / "in" / "a.png", tmp_path / "in")
    np.testing.assert_array_equal(
        data.read_image(tmp_path / "in" / "a.png"), picture((10, 20, 30, 50))
    )


def test_input_without_pictures_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("")
    with pytest.raises(
        ValueError, match="no images or videos in .*in, expected files such as .jpg"
    ):
        run(tmp_path / "in", tmp_path / "out")
    with pytest.raises(ValueError, match="no file or folder at .*absent"):
        run(tmp_path / "absent", tmp_path / "out")


def test_main_loads_the_workdir_and_says_what_it_did(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(jaxdet, "load", lambda workdir: asked.append(workdir) or RedFinder())
    save(tmp_path / "in" / "a.png", picture((10, 20, 30, 50)))
    flags = ["--workdir=W", f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}"]
    assert predict.main(flags) == 0
    assert asked == ["W"]
    assert "1 detections above 0.3 in 1 images" in capsys.readouterr().out
    assert predict.main([*flags, "--score_threshold=0"]) == 0
    assert "2 detections above 0 in 1 images" in capsys.readouterr().out
    (tmp_path / "in" / "a.png").write_text("no picture")
    assert predict.main(flags) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith("\njaxdet: none of 1 files could be read, see above\n")
    with pytest.raises(SystemExit, match="jaxdet: the output folder .* holds the input"):
        predict.main([*flags[:2], f"--output={tmp_path / 'in'}"])


COCO_PICTURES = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data" / "coco" / "val2017"


@pytest.mark.skipif(not COCO_PICTURES.exists(), reason="needs COCO pictures, absent here")
def test_real_pictures_keep_their_size_and_number(tmp_path):
    for name in sorted(file.name for file in COCO_PICTURES.iterdir())[:5]:
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).symlink_to(COCO_PICTURES / name)
    _, summary, _, info = run(tmp_path / "in", tmp_path / "out")
    assert summary.skipped == 0
    for each in info["images"]:
        assert each["id"] == int(each["file_name"].removesuffix(".jpg"))
        drawn = data.read_image(tmp_path / "out" / each["file_name"])
        assert drawn.shape == (each["height"], each["width"], 3)
