"""Which files predict reads, what it writes beside the record, and how shards go on."""

import json
import os
import re
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_predict import RedFinder, picture, run, save, save_video

import jaxdet
from jaxdet import data, predict
from jaxdet.predict.files import Files, Shard

FINDER = RedFinder()


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


# --- which files are pictures ---


@pytest.fixture
def mixed(tmp_path):
    """A folder of files whose names say little."""
    folder = tmp_path / "in"
    for kind in ("gif", "avif", "ppm", "jp2", "webp"):
        save(folder / f"a.{kind}", picture((10, 20, 30, 50)))
    save(folder / "b.png", picture((10, 20, 30, 50)))
    (folder / "b.png").rename(folder / "no_ending")
    save(folder / "c.png", picture((10, 20, 30, 50)))
    (folder / "c.png").rename(folder / "c.bin")
    (folder / "d.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (folder / "e.jpg").write_text("<!DOCTYPE html><html>404</html>")
    (folder / "f.jpg").symlink_to(folder / "absent")
    (folder / "notes.md").write_text("no picture")
    (folder / "labels.csv").write_text("a,b")
    (folder / ".hidden.jpg").write_text("")
    return folder


def test_pictures_are_known_by_their_content(mixed, tmp_path, capsys):
    _, summary, detections, info = run(mixed, tmp_path / "out")
    names = ["a.avif", "a.gif", "a.jp2", "a.ppm", "a.webp", "c.bin", "no_ending"]
    assert [each["file_name"] for each in info["images"]] == names
    assert {each["file_name"] for each in detections} >= {"a.gif", "c.bin", "no_ending"}
    assert (tmp_path / "out" / "no_ending.png").is_file()
    said = capsys.readouterr().err
    assert summary.skipped == 3
    for name, reason in {"d.heic": "HEIC", "e.jpg": "a web page", "f.jpg": "No such file"}.items():
        assert re.findall(f"skipped {mixed / name}: .*{reason}", said)
        assert said.count(str(mixed / name)) == 1
    assert "passed over 2 files that are no images or videos" in said


def test_one_file_is_read_whatever_it_is_called(mixed, tmp_path, capsys):
    for name in ("no_ending", "c.bin"):
        assert len(run(mixed / name, tmp_path / "out")[3]["images"]) == 1
    save_video(tmp_path / "x.avi", [picture((8, 8, 24, 24), 64, 64)] * 3)
    (tmp_path / "x.avi").rename(tmp_path / "clip")
    assert len(run(tmp_path / "clip", tmp_path / "out")[3]["images"]) == 3
    assert (tmp_path / "out" / "clip.mp4").is_file()
    assert run(mixed / "d.heic", tmp_path / "out")[1].images == 0
    assert "HEIC, expected JPEG" in capsys.readouterr().err


def test_a_name_that_is_not_utf8_is_no_end(tmp_path):
    folder = os.fsencode(tmp_path / "in")
    save(tmp_path / "in" / "a.png", picture((10, 20, 30, 50)))
    try:
        os.rename(folder + b"/a.png", folder + b"/a\xff.png")
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    info = run(tmp_path / "in", tmp_path / "out", save=("json", "txt"))[3]
    assert [each["file_name"] for each in info["images"]] == ["a\ufffd.png"]


def test_an_unreadable_picture_does_not_change_the_ids_of_the_others(tmp_path):
    save(tmp_path / "in" / "0012.png", picture((10, 20, 30, 50)))
    (tmp_path / "in" / "x.heic").write_bytes(b"")
    assert [each["id"] for each in run(tmp_path / "in", tmp_path / "out")[3]["images"]] == [12]


# --- what is written ---


def test_labels_are_those_of_yolo_with_confidences(tmp_path):
    save(tmp_path / "in" / "a.png", picture((10, 20, 30, 50)))
    save(tmp_path / "in" / "b" / "c.png", picture((0, 0, 8, 8)))
    save(tmp_path / "in" / "b" / "c.jpg", picture((0, 0, 8, 8)))
    run(tmp_path / "in", tmp_path / "out", save=("txt", "json"), score=0)
    labels = tmp_path / "out" / "labels"
    assert (labels / "a.txt").read_text().splitlines() == [
        "1 0.250000 0.583333 0.250000 0.500000 0.800000",
        "0 0.500000 0.500000 1.000000 1.000000 0.100000",
    ]
    assert sorted(path.name for path in (labels / "b").iterdir()) == ["c.jpg.txt", "c.png.txt"]
    assert (labels / "classes.txt").read_text("utf-8") == "nothing\nröd\n"
    assert not (tmp_path / "out" / "a.png").exists()


def test_labels_of_frames_have_their_number(tmp_path):
    (tmp_path / "in").mkdir()
    save_video(tmp_path / "in" / "v.avi", [picture((8, 8, 24, 24), 64, 64)] * 2)
    run(tmp_path / "in", tmp_path / "out", save=("txt", "json"))
    assert {path.name for path in (tmp_path / "out" / "labels").iterdir()} == {
        "v_0.txt", "v_1.txt", "classes.txt"
    }  # fmt: skip


def test_crops_lie_in_folders_of_their_class(tmp_path, monkeypatch):
    monkeypatch.setattr(RedFinder, "classes", ("nothing", "../röd/1"))
    save(tmp_path / "in" / "b" / "a.png", picture((10, 20, 30, 50)))
    run(tmp_path / "in", tmp_path / "out", save=("crops", "json"))
    (crop,) = (path for path in (tmp_path / "out" / "crops").rglob("*") if path.is_file())
    assert crop == tmp_path / "out" / "crops" / "___röd_1" / "b" / "a-1.jpg"
    image = data.read_image(crop)
    assert image.shape == (30, 20, 3)
    assert np.abs(image - np.array([255, 0, 0])).max() < 20


def test_without_json_there_is_none(tmp_path):
    save(tmp_path / "in" / "a.png", picture((10, 20, 30, 50)))
    summary = predict.predict(FINDER, tmp_path / "in", tmp_path / "out", save=["image"])
    assert summary.images == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
    with pytest.raises(ValueError, match="save has 'boxes', expected some of image, txt"):
        predict.predict(FINDER, tmp_path / "in", tmp_path / "out", save=["boxes"])


def test_two_files_are_never_drawn_into_one(tmp_path):
    save(tmp_path / "in" / "a.png", picture((10, 20, 30, 50)))
    (tmp_path / "in" / "a").write_bytes((tmp_path / "in" / "a.png").read_bytes())
    run(tmp_path / "in", tmp_path / "out")
    drawn = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"a.png", "a.drawn.png"} <= drawn


# --- shards ---


@pytest.fixture
def many(tmp_path):
    for i in range(12):
        save(tmp_path / "in" / f"{'ab'[i % 2]}" / f"{i}.png", picture((i, i, i + 9, i + 9)))
    (tmp_path / "in" / "a" / "z.jpg").write_text("")
    save_video(tmp_path / "in" / "v.avi", [picture((8, 8, 24, 24), 64, 64)] * 5)
    return tmp_path / "in"


def shard(source, output, index, count=3, detector=FINDER, **settings):
    given = {"score": 0.3, "batch_size": 2, "save": ["json"]} | settings
    return predict.predict(detector, source, output, shard=Shard(index, count), **given)


def test_shards_together_are_the_whole(many, tmp_path):
    _, _, whole, info = run(many, tmp_path / "whole", save=["json"])
    parts = [shard(many, tmp_path / "out", i) for i in (3, 1, 2)]
    assert [part.is_merged for part in parts] == [False, False, True]
    assert sum(part.images for part in parts) == 17 == len(info["images"])
    assert sum(part.skipped for part in parts) == 1
    assert all(part.images for part in parts)
    read = lambda name: json.loads((tmp_path / "out" / name).read_text("utf-8"))
    key = lambda each: (each["file_name"], each.get("frame", 0))
    without_id = lambda rows: sorted(
        ({k: v for k, v in row.items() if k not in ("id", "image_id")} for row in rows), key=key
    )
    merged = read("image_info.json")
    assert without_id(merged["images"]) == without_id(info["images"])
    assert without_id(read("detections.json")) == without_id(whole)
    assert merged["categories"] == info["categories"]
    ids = {each["id"]: key(each) for each in merged["images"]}
    assert len(ids) == 17  # each its own
    assert all(ids[each["image_id"]] == key(each) for each in read("detections.json"))


class Killed(RedFinder):
    """Ends the program, as SIGKILL would, at its batch number `last`."""

    def __init__(self, last):
        super().__init__()
        self.last = last

    def detect(self, images, **settings):
        if len(self.batches) == self.last:
            raise SystemExit
        return super().detect(images, **settings)


@pytest.mark.parametrize("cut", [0, 7])
def test_a_shard_that_was_killed_goes_on(many, tmp_path, cut):
    whole = shard(many, tmp_path / "whole", 1, count=1)
    expected = lines(tmp_path / "whole" / "detections-1-of-1.jsonl")
    for last in (5, 1, 2):  # within the video, then in the pictures
        with pytest.raises(SystemExit):
            shard(many, tmp_path / "out", 1, count=1, detector=Killed(last))
        path = tmp_path / "out" / "detections-1-of-1.jsonl"
        path.write_bytes(path.read_bytes()[: path.stat().st_size - cut])  # a line that was half out
    finder = RedFinder()
    again = shard(many, tmp_path / "out", 1, count=1, detector=finder)
    assert again == whole
    assert lines(path) == expected
    assert 0 < sum(finder.batches) < 17
    finder = RedFinder()
    assert shard(many, tmp_path / "out", 1, count=1, detector=finder) == whole
    assert finder.batches == []


def test_a_shard_goes_on_only_with_the_same_settings_and_files(many, tmp_path):
    shard(many, tmp_path / "out", 1)
    with pytest.raises(ValueError, match="was written with score 0.3, and now it is 0.5"):
        shard(many, tmp_path / "out", 1, score=0.5)
    (many / "v.avi").unlink()
    for path in (many / "a").iterdir():
        path.unlink()
    for index in (1, 2, 3):
        if (tmp_path / "out" / f"detections-{index}-of-3.jsonl").exists():
            with pytest.raises(ValueError, match="its files have changed"):
                shard(many, tmp_path / "out", index)


@pytest.mark.parametrize("text", ["2", "0/3", "4/3", "a/b", "1/", "-1/2", "1/2/3"])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="--shard is .*, expected i/n"):
        Shard.parse(text)
    assert Shard.parse("2/8") == Shard(2, 8)


def test_memory_does_not_grow_with_the_number_of_files(tmp_path, monkeypatch):
    """A tenth of the files of a million would show: some hundred bytes for each file."""
    for i in range(40):
        (tmp_path / "in" / str(i)).mkdir(parents=True)
    image = picture((0, 0, 4, 4), 8, 8)
    monkeypatch.setattr(data.images, "examine", lambda path: (True, ""))
    monkeypatch.setattr(data, "read_image", lambda path: image)

    def peak(count):
        names = [str(i) for i in range(count)]
        walk = lambda root: (Path(root, str(i % 40), names[i]) for i in range(count))
        monkeypatch.setattr(data.images, "walk", walk)
        tracemalloc.start()
        run_quietly(tmp_path / "in", tmp_path / str(count))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    def run_quietly(source, output):
        found = predict.predict(FINDER, source, output, score=0.9, save=["json"], batch_size=8)
        assert found.images == int(output.name)

    peak(10)
    few, lots = peak(100), peak(1100)
    assert (lots - few) / 1000 < 50  # bytes a file; a path alone has more


def test_the_ids_are_the_numbers_of_the_files(tmp_path):
    for name in ("7.png", "a/0031.png"):
        save(tmp_path / "in" / name, picture((0, 0, 8, 8)))
    survey = lambda: Files(tmp_path / "in", tmp_path / "out", Shard()).survey()
    assert survey() == (2, True)
    save(tmp_path / "in" / "b" / "07.png", picture((0, 0, 8, 8)))
    assert survey() == (3, False)
    (tmp_path / "in" / "b" / "07.png").unlink()
    save(tmp_path / "in" / f"{'9' * 30}.png", picture((0, 0, 8, 8)))
    assert survey() == (3, False)


# --- the command ---


def test_flags_reach_the_detector_and_wrong_ones_are_refused(tmp_path, monkeypatch, capsys):
    asked = []

    class Asked(RedFinder):
        def detect(self, images, **settings):
            asked.append(settings)
            return super().detect(images, **settings)

    monkeypatch.setattr(jaxdet, "load", lambda workdir: Asked())
    save(tmp_path / "in" / "a.png", picture((10, 20, 30, 50)))
    flags = ["--workdir=W", f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}"]
    more = "--score=0.5 --iou=0.6 --classes=röd --agnostic --max=3 --tile=640 --overlap=0.1"
    assert predict.main([*flags, *more.split(), "--save=txt"]) == 0
    assert asked == [
        dict(score=0.5, iou=0.6, classes=["röd"], agnostic=True, max=3, tile=640, overlap=0.1)
        | dict(batch_size=8)
    ]
    assert str(tmp_path / "out") in capsys.readouterr().out
    assert not (tmp_path / "out" / "detections.json").exists()
    for flag, said in {
        "--score=1.5": "score is 1.5, expected a number, from 0 to 1",
        "--iou=-0.1": "iou is -0.1",
        "--max=0": "max is 0, expected a whole number, at least 1",
        "--tile=3": "tile is 3",
        "--overlap=0.2": "but there is no tile",
        "--batch_size=0": "batch_size is 0",
        "--classes=rod": "--classes: there is no 'rod'; did you mean 'röd'",
        "--save=pdf": "--save: there is no 'pdf'; expected one of crops, image, json, txt",
        "--shard=3/2": "--shard is '3/2', expected i/n",
    }.items():
        with pytest.raises(SystemExit, match="jaxdet: .*" + re.escape(said)):
            predict.main([*flags, flag])


def test_class_names_are_in_the_detections(tmp_path):
    save(tmp_path / "in" / "a.png", picture((10, 20, 30, 50)))
    assert [each["category_name"] for each in run(tmp_path / "in", tmp_path / "out")[2]] == ["röd"]


def test_opencv_reads_what_the_test_wrote(mixed):
    assert cv2.haveImageReader(str(mixed / "a.avif"))
