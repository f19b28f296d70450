"""`python -m jaxdet.prepare`: folders of people's own pictures, as they really look."""

import json
import pathlib
import re
import shlex
import shutil
import unicodedata

import cv2
import numpy as np
import pytest
from conftest import train
from test_configs import CONFIGS, load
from tiny_sets import jpeg, picture, voc_xml

import jaxdet
from jaxdet import build, data, prepare, visualize
from jaxdet.data import builder
from jaxdet.engine import setup

HEIGHT, WIDTH = 30, 40
CELL, SPOT = ("cell", 11, 7, 20, 18, False), ("spot", 1, 1, 40, 30, False)
CELL_BOX = [10 / 40, 6 / 30, 20 / 40, 18 / 30]  # of CELL: VOC counts pixels from 1, inclusive


@pytest.fixture
def root(tmp_path) -> pathlib.Path:
    return tmp_path / "mine"


@pytest.fixture
def dir(tmp_path) -> pathlib.Path:
    return tmp_path / "prepared"


def write(path: pathlib.Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def encoded(ending: str, seed: int = 0) -> bytes:
    return cv2.imencode(ending, picture(HEIGHT, WIDTH, seed)[..., ::-1])[1].tobytes()


def photo(path: pathlib.Path, seed: int = 0) -> None:
    write(path, jpeg(picture(HEIGHT, WIDTH, seed)))


def run(form: str, root, dir, *arguments) -> None:
    prepare.main([f"--format={form}", f"--root={root}", "--name=mine", f"--dir={dir}", *arguments])


def boxes(dataset: data.Dataset) -> dict[str, list]:
    """By picture: (class, corners rounded to 4 digits)."""
    return {
        each.id: [
            (dataset.classes[label], *np.round(box.astype(float), 4).tolist())
            for label, box in zip(each.labels, each.boxes, strict=True)
        ]
        for each in dataset.annotations()
    }


# VOC


def write_voc(root: pathlib.Path, stems: list[str]) -> None:
    for number, stem in enumerate(stems):
        photo(root / "JPEGImages" / f"{stem}.jpg", number)
        write(root / "Annotations" / f"{stem}.xml", voc_xml([CELL, SPOT], (HEIGHT, WIDTH)))


def test_voc_lists_are_honoured(root, dir, capsys):
    write_voc(root, ["1", "2", "my photo 1", "left"])
    for split, names in {"train": "1\n", "val": "2\n", "test": "my photo 1\ngone\n"}.items():
        write(root / "ImageSets" / "Main" / f"{split}.txt", names)
    write(root / "ImageSets" / "Main" / "trainval.txt", "1\n2\n")
    run("voc", root, dir, "--val=0.5")
    out = capsys.readouterr().out
    dataset = data.open("mine/train+mine/val", dir=dir)
    assert dataset.classes == ("cell", "spot")
    corners = [("cell", *np.round(CELL_BOX, 4).tolist()), ("spot", 0.0, 0.0, 1.0, 1.0)]
    assert boxes(dataset) == {"JPEGImages/1.jpg": corners, "JPEGImages/2.jpg": corners}
    assert list(data.open("mine/val", dir=dir).ids) == ["JPEGImages/2.jpg"]
    assert list(data.open("mine/test", dir=dir).ids) == ["JPEGImages/my photo 1.jpg"]
    assert data.classes("mine/test", dir=dir) == ("cell", "spot")
    assert re.search(r"left out: name in a list that has no .*: 1 \(first: .*test.txt: gone\)", out)
    assert re.search(r"left out: image in no list .*: 1 \(first: .*/left.jpg\)", out)
    assert "validation" not in out.replace("--val", "")


def test_voc_lists_in_the_devkits_other_forms(root, dir):
    write_voc(root, ["1", "2", "photo 1", "4"])
    write(root / "ImageSets" / "Main" / "train.txt", "1  1\n2.jpg\n")
    write(root / "ImageSets" / "Main" / "test.txt", "photo 1\n4 -1\n")
    run("voc", root, dir, "--val=0")
    names = lambda split: list(data.open(f"mine/{split}", dir=dir).ids)
    assert sorted(names("train")) == ["JPEGImages/1.jpg", "JPEGImages/2.jpg"]
    assert sorted(names("test")) == ["JPEGImages/4.jpg", "JPEGImages/photo 1.jpg"]
    write(root / "ImageSets" / "Main" / "train.txt", "one\n")
    write(root / "ImageSets" / "Main" / "test.txt", "two\n")
    with pytest.raises(SystemExit, match="test.txt names none of the 4 annotated .* 'two'"):
        run("voc", root, dir)


def test_nested_folders_odd_names_and_every_kind_of_picture(root, dir):
    kinds = {"a/one.JPG": ".jpg", "a/one two.png": ".png", "b/one.webp": ".webp"}
    kinds |= {"b/Zelle é 细胞.bmp": ".bmp", "c/x.y.tiff": ".tiff", "c/bare": ".png"}
    for number, (name, ending) in enumerate(kinds.items()):
        path = pathlib.Path(name)
        write(root / "images" / path, encoded(ending, number))
        stem = path.stem if path.suffix else path.name
        # As a Mac writes the name: letters with accents in two parts.
        stem = unicodedata.normalize("NFD", stem)
        write(root / "labels" / path.parent / f"{stem}.xml", voc_xml([CELL], (HEIGHT, WIDTH)))
    write(root / "__MACOSX" / "._one.jpg", b"no picture")
    run("voc", root, dir, "--val=0")
    dataset = data.open("mine/train", dir=dir)
    assert sorted(dataset.ids) == sorted(f"images/{name}" for name in kinds)
    for i, id in enumerate(dataset.ids):
        assert dataset.encoded(i) == (root / id).read_bytes()
        seed = list(kinds).index(id.removeprefix("images/"))
        assert abs(dataset.image(i)[..., 2].mean() - 40 * seed) < 6
    assert {tuple(found[0]) for found in boxes(dataset).values()} == {
        ("cell", *np.round(CELL_BOX, 4).tolist())
    }
    with pytest.raises(ValueError, match="no dataset 'mine/val'.* prepared in .*: mine/train"):
        data.open("mine/val", dir=dir)


def test_what_cannot_be_used_is_left_out_with_a_reason(root, dir, capsys):
    write_voc(root, ["good", "broken", "twice", "unread"])
    write(root / "JPEGImages" / "broken.jpg", jpeg(picture(HEIGHT, WIDTH))[:-40])
    write(root / "JPEGImages" / "twice.png", encoded(".png"))
    write(root / "JPEGImages" / "unlabelled.jpg", jpeg(picture(HEIGHT, WIDTH)))
    write(root / "Annotations" / "unread.xml", "<annotation><size>")
    write(root / "Annotations" / "alone.xml", voc_xml([CELL], (HEIGHT, WIDTH)))
    bad = [CELL, ("spot", 5, 5, 5, 5, False), ("spot", 9, 20, 4, 25, False)]
    write(root / "Annotations" / "good.xml", voc_xml(bad, (HEIGHT, WIDTH)))
    run("voc", root, dir, "--val=0")
    out = capsys.readouterr().out
    dataset = data.open("mine/train", dir=dir)
    assert list(boxes(dataset)) == ["JPEGImages/good.jpg"]
    assert [name for name, *_ in boxes(dataset)["JPEGImages/good.jpg"]] == ["cell"]
    for reason in (
        r"left out: annotation without an image file: 1 \(first: .*alone.xml\)",
        r"left out: annotation that matches several images: 1 \(first: .*twice.xml\)",
        r"file that is not an annotation in VOC's format: 1 \(first: .*unread.xml: no elem",
        r"left out: image without an annotation .*: 2 \(first: .*unlabelled.jpg\)",
        r"left out: image that an annotation without an image may mean: 2 \(first: .*twice.jpg\)",
        r"image cannot be decoded: a truncated JPEG.*: 1 \(first: .*broken.xml\)",
        r"box is empty .*: 2 \(first: .*good.xml\)",
    ):
        assert re.search(reason, out), (reason, out)


def test_voc_masks_are_no_photos(root, dir):
    for folder, ending in (("JPEGImages", ".jpg"), ("SegmentationClass", ".png")):
        write(root / folder / f"1{ending}", encoded(ending))
    xml = voc_xml([CELL], (HEIGHT, WIDTH)).replace("<size>", "<filename>1.jpg</filename><size>")
    write(root / "Annotations" / "1.xml", xml)
    run("voc", root, dir)
    assert list(data.open("mine/train", dir=dir).ids) == ["JPEGImages/1.jpg"]


# YOLO


def write_yolo(root: pathlib.Path, labels: dict[str, str]) -> None:
    """Label files by their path under `labels/`; with None the picture has none."""
    for number, (name, text) in enumerate(labels.items()):
        photo(root / "images" / f"{name}.jpg", number)
        if text is not None:
            write(root / "labels" / f"{name}.txt", text)


def test_yolo_with_folders_and_yaml(root, dir, capsys):
    labels = {"train/1": "0 0.5 0.5 0.2 0.4\n", "train/2": None, "valid/1": "1 0.5 0.5 1 1\n"}
    write_yolo(root, labels | {"train/3": "0 0.5 0.5\n", "test2017/1": ""})
    write(root / "data.yaml", "nc: 2\nnames:\n  0: red cell\n  1: white\n")
    write(root / "README.txt", "hello")
    run("yolo", root, dir)
    train_set = data.open("mine/train", dir=dir)
    assert train_set.classes == ("red cell", "white")
    expected = {"images/train/1.jpg": [("red cell", 0.4, 0.3, 0.6, 0.7)], "images/train/2.jpg": []}
    assert boxes(train_set) == expected
    assert boxes(data.open("mine/val", dir=dir)) == {
        "images/valid/1.jpg": [("white", 0.0, 0.0, 1.0, 1.0)]
    }
    assert boxes(data.open("mine/test", dir=dir)) == {"images/test2017/1.jpg": []}
    out = capsys.readouterr().out
    assert re.search(r"line with another count of numbers, .*: 1 \(first: .*/3.txt: line 1", out)
    assert re.search(r"without a usable line: 1 \(first: .*labels/train/3.txt\)", out)
    assert re.search(r"kept as background: 1 \(first: .*images/train/2.jpg\)", out)
    assert re.search(r"without an image file: 1 \(first: .*README.txt\)", out)


def test_yolo_beside_the_pictures_split_by_name(root, dir, capsys):
    for number in range(20):
        photo(root / f"{number}.jpg", number)
        write(root / f"{number}.txt", "0 0.5 0.5 0.5 0.5\n")
    write(root / "classes.txt", "cell\n\n")
    run("yolo", root, dir, "--val=0.25")
    chosen = list(data.open("mine/val", dir=dir).ids)
    assert len(chosen) == 5 and len(data.open("mine/train+mine/val", dir=dir)) == 20
    assert "5 of the training images are set aside as one" in capsys.readouterr().out
    moved = root.rename(root.with_name("elsewhere"))
    run("yolo", moved, dir.with_name("again"), "--val=0.25")
    assert sorted(data.open("mine/val", dir=dir.with_name("again")).ids) == sorted(chosen)


def test_yolo_classes_must_be_known_and_agree(root, dir):
    write_yolo(root, {"1": "2 0.5 0.5 0.2 0.4\n"})
    with pytest.raises(SystemExit, match="1.txt has class 2; found no names"):
        run("yolo", root, dir)
    write(root / "classes.txt", "cell\nspot\n")
    with pytest.raises(SystemExit, match=r"1.txt has class 2; the names are \{0: 'cell', 1:"):
        run("yolo", root, dir)
    write(root / "data.yaml", "names: [cell, spots]")
    with pytest.raises(SystemExit, match="classes.txt and .*data.yaml list different classes"):
        run("yolo", root, dir)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("names: [no, yes]", r"names \[False, True\], expected a list"),
        ("names: {person: 0}", "names {'person': 0}, expected"),
        ("names: person", "names 'person', expected"),
        ("names: ['', cell]", "has a class called ''"),
        ("names: [cell, 'cell ']", "two classes called 'cell'"),
        (b"names: [Gr\xfcn]", "data.yaml cannot be read: 'utf-8'"),
    ],
)
def test_yolo_names_that_are_none(root, dir, names, message):
    write_yolo(root, {"1": "0 0.5 0.5 0.2 0.4\n"})
    write(root / "data.yaml", names)
    with pytest.raises(SystemExit, match=message):
        run("yolo", root, dir)
    assert not (dir / "mine" / "train").exists() or not data.builder.is_prepared(dir, "mine/train")


def test_yolo_lists_of_paths_are_honoured(root, dir):
    write_yolo(root, dict.fromkeys(["1", "2", "3"], "0 0.5 0.5 0.2 0.4\n"))
    write(root / "classes.txt", "cell\n")
    write(root / "train.txt", "/home/me/data/1.jpg\n.\\images\\2.jpg\n\n")
    write(root / "test.txt", "images/3.jpg\n")
    run("yolo", root, dir, "--val=0")
    assert sorted(data.open("mine/train", dir=dir).ids) == ["images/1.jpg", "images/2.jpg"]
    assert list(data.open("mine/test", dir=dir).ids) == ["images/3.jpg"]


def test_boxes_in_pixels_leave_nothing_to_train_on(root, dir):
    write_yolo(root, {"1": "0 20 15 8 8\n"})
    write(root / "classes.txt", "cell\n")
    with pytest.raises(
        SystemExit, match="1 of 1 boxes do not .* look like pixels. Expected `cx cy"
    ):
        run("yolo", root, dir)
    assert not list((dir / "mine").rglob("dataset_info.json"))


# COCO


def coco(images: dict[str, list[dict]], *, first: int = 1) -> str:
    """A json of pictures {file name: annotations}; the numbers of the classes have gaps."""
    listed, things = [], []
    for number, (name, annotations) in enumerate(images.items(), start=first):
        listed.append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
        things += [{"image_id": number, **each} for each in annotations]
    categories = [{"id": 90, "name": "white"}, {"id": 3, "name": "red cell"}]
    return json.dumps({"images": listed, "annotations": things, "categories": categories})


def test_coco_with_gaps_crowds_and_several_files(root, dir, capsys):
    cell = {"category_id": 90, "bbox": [4, 3, 20, 12], "area": 100}
    crowd = {"category_id": 3, "bbox": [0, 0, 40, 15], "iscrowd": 1, "segmentation": {"counts": ""}}
    no_box = {"category_id": 3, "bbox": [], "segmentation": [[1, 1, 5, 1, 5, 5]]}
    for name in ("a/1.jpg", "a/2.JPG", "b/4.jpg"):
        photo(root / "pictures" / name)
    nothing = {"category_id": 3}
    write(root / "instances_train2017.json", coco({"a/1.jpg": [cell, crowd, no_box, nothing]}))
    write(root / "instances_val2017.json", coco({"a\\2.jpg": [crowd], "3.jpg": []}))
    write(root / "person_val.json", coco({"a/2.jpg": [cell]}))
    write(root / "notes.json", "{}")
    run("coco", root, dir)
    out = capsys.readouterr().out
    dataset = data.open("mine/train+mine/val", dir=dir)
    assert dataset.classes == ("red cell", "white")  # by their numbers, 3 and 90
    assert boxes(dataset) == {
        "pictures/a/1.jpg": [
            ("white", 0.1, 0.1, 0.6, 0.5),
            ("red cell", 0.0, 0.0, 1.0, 0.5),
            ("red cell", *np.round([1 / 40, 1 / 30, 5 / 40, 5 / 30], 4).tolist()),  # its outline's
        ],
        "pictures/a/2.JPG": [("red cell", 0.0, 0.0, 1.0, 0.5)],
    }
    assert dataset.annotation(0).crowd.tolist() == [False, True, False]
    np.testing.assert_allclose(dataset.annotation(0).area, [100, 40 * 15, 16], rtol=1e-6)
    for reason in (
        r"object without a box: 1 \(first: .*annotations\[3\] has the bbox None",
        r"object without a box, that of its outline is used: 1 \(first: .*a/1.jpg: .*\[2\]",
        r"annotation without an image file: 1 \(first: 3.jpg\)",
        r"another annotation of the same image: 1 \(first: a/2.jpg\)",
        r"JSON file that is not in COCO's format: 1 \(first: .*notes.json .*no `images`",
        r"image without an annotation .*: 1 \(first: .*b/4.jpg\)",
    ):
        assert re.search(reason, out), (reason, out)


def test_coco_images_of_the_same_id_are_no_json_of_coco(root, dir):
    content = json.loads(coco({"1.jpg": [], "2.jpg": []}))
    content["images"][1]["id"] = 1
    write(root / "all.json", json.dumps(content))
    photo(root / "1.jpg")
    with pytest.raises(SystemExit, match=r"lists several images with the same id: \[1\]"):
        run("coco", root, dir)


# All


def test_again_is_nothing_and_a_change_is_noticed(root, dir, capsys):
    write_yolo(root, {"1": "0 0.5 0.5 0.2 0.4\n", "2": "0 0.5 0.5 0.3 0.4\n"})
    write(root / "classes.txt", "cell\n")
    run("yolo", root, dir)
    records = {path: path.stat().st_mtime_ns for path in dir.rglob("*.array_record*")}
    assert len(records) == 2 and "already exists" not in capsys.readouterr().out
    run("yolo", root, dir)
    assert capsys.readouterr().out.count("already exists, made from the same annotations") == 2
    assert records == {path: path.stat().st_mtime_ns for path in dir.rglob("*.array_record*")}
    for number in (1, 2):
        write(root / "labels" / f"{number}.txt", "0 0.5 0.5 0.9 0.4\n")
    with pytest.raises(SystemExit, match="mine/train was prepared from .*, or delete this one"):
        run("yolo", root, dir)


def test_another_share_for_validation_is_named(root, dir):
    write_yolo(root, {str(n): "0 0.5 0.5 0.2 0.4\n" for n in range(4)})
    write(root / "classes.txt", "cell\n")
    run("yolo", root, dir)
    with pytest.raises(
        SystemExit, match=r"another source \(--val: 0.1 then, 0.5 now\). Use another"
    ):
        run("yolo", root, dir, "--val=0.5")


@pytest.mark.parametrize("bad", ["val", "test"])
def test_one_bad_box_outside_train_ends_nothing(root, dir, bad, capsys):
    boxes_of = lambda split: [{"category_id": 3, "bbox": [4, 3, -20 if split == bad else 20, 12]}]
    for n, split in enumerate(("train", "val", "test")):
        photo(root / split / "1.jpg", n)
        photo(root / split / "2.jpg", n)
        good = [{"category_id": 3, "bbox": [4, 3, 20, 12]}]
        write(root / f"{split}.json", coco({"1.jpg": boxes_of(split), "2.jpg": good}))
    run("coco", root, dir)
    ids = {split: len(data.open(f"mine/{split}", dir=dir)) for split in ("train", "val", "test")}
    assert ids == {"train": 2, "val": 2, "test": 2} | {bad: 1}
    assert f"mine/{bad}: image without a usable box among those" in capsys.readouterr().out


def test_a_split_without_a_usable_image_is_left_out_and_said(root, dir, capsys):
    write_yolo(root, {"train/1": "0 0.5 0.5 0.2 0.4\n", "val/1": "0 0.5 0.5 0.2 0.4\n"})
    write(root / "classes.txt", "cell\n")
    write(root / "images" / "val" / "1.jpg", jpeg(picture(HEIGHT, WIDTH))[:-40])
    run("yolo", root, dir, "--val=0")
    out = capsys.readouterr().out
    assert builder.prepared(dir) == ["mine/train"]
    assert re.search(r"left out: val: image cannot be decoded: a truncated JPEG.*: 1 \(first:", out)


def test_what_cannot_be_written_leaves_nothing(root, dir, monkeypatch):
    """As on a disk that is full half way, after the first split."""
    write_yolo(root, {"train/1": "0 0.5 0.5 0.2 0.4\n", "val/1": "0 0.5 0.5 0.2 0.4\n"})
    write(root / "classes.txt", "cell\n")
    real = builder._write

    def full(source, where, **others):
        if source.name == "mine/val":
            raise OSError(28, "No space left on device")
        real(source, where, **others)

    with monkeypatch.context() as patch:
        patch.setattr(builder, "_write", full)
        with pytest.raises(SystemExit, match="No space left"):
            run("yolo", root, dir)
    assert builder.prepared(dir) == [] and not list(dir.rglob("*array_record*"))
    run("yolo", root, dir)
    assert builder.prepared(dir) == ["mine/train", "mine/val"]


def test_the_next_command_can_be_copied(root, tmp_path, capsys):
    write_yolo(root, {"train/1": "0 0.5 0.5 0.2 0.4\n", "test/1": "0 0.5 0.5 0.2 0.4\n"})
    write(root / "classes.txt", "cell\n")
    place = tmp_path / "my data"
    run("yolo", root, place, "--val=0")
    [line] = [each for each in capsys.readouterr().out.splitlines() if each.startswith("next")]
    assert shlex.split(line)[1:] == [
        "jaxdet", "train", "--config=quickstart", "--workdir=runs/mine",
        f"--config.data.dir={place}", "--config.data.train=mine/train",
        "--config.data.eval=mine/test",
    ]  # fmt: skip
    default = prepare.DIR.expanduser()
    text = prepare.next_command("mine", ["train"], default)
    assert text.endswith(
        "train=mine/train --config.data.eval=mine/train --config.every.evaluation=0"
    )
    assert "data.dir" not in text
    assert prepare.next_command("mine", ["test"], default).startswith("jaxdet eval --workdir=")


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("coco", "no objects in coco format, expected a .json file .*found 1 .xml, 1 .jpg"),
        ("yolo", "no objects in yolo format, expected a .txt file .*found 1 .xml, 1 .jpg"),
    ],
)
def test_wrong_form_is_named(root, dir, form, message):
    write_voc(root, ["1"])
    with pytest.raises(SystemExit, match=message):
        run(form, root, dir)
    assert not dir.exists()


def test_user_mistakes(root, dir):
    with pytest.raises(SystemExit, match="no folder at .*mine"):
        run("voc", root, dir)
    write_voc(root, ["1"])
    with pytest.raises(SystemExit, match="val is 1, expected a fraction"):
        run("voc", root, dir, "--val=1")
    with pytest.raises(SystemExit, match="the name is 'a/b', expected letters"):
        run("voc", root, dir, "--name=a/b")


def test_sheet_shows_the_boxes(root, dir):
    write_voc(root, [str(number) for number in range(30)])
    run("voc", root, dir)
    page = cv2.imread(str(dir / "mine" / prepare.SHEET))[..., ::-1]
    assert page.shape == (5 * prepare.CELL, 5 * prepare.CELL, 3)
    red = (page == np.array(visualize.class_colour(0))).all(axis=-1)
    cells = red.reshape(5, prepare.CELL, 5, prepare.CELL).sum(axis=(1, 3))
    assert (cells > 200).all()  # each of the 25 has a box of the first class


def test_a_validation_set_without_objects_is_refused_before_training(root, dir):
    write_yolo(root, {"train/1": "0 0.5 0.5 0.2 0.4\n", "val/1": ""})
    write(root / "classes.txt", "cell\n")
    run("yolo", root, dir)
    (quickstart,) = [path for path in CONFIGS if path.stem == "quickstart"]
    config = load(quickstart).get_config()
    config.data.update(train="mine/train", eval="mine/val", dir=str(dir))
    with pytest.raises(ValueError, match="mine/val has no object to detect in its 1 images"):
        setup.start(config, dir / "run")
    config.every.evaluation = 0
    train_set, eval_set = setup.open_datasets(config)
    setup.check_truth(build.recipe(config, train_set.classes), eval_set)
    assert len(eval_set) == 1 and not (dir / "run").exists()


@pytest.mark.slow
def test_fine_tunes_a_detector_of_other_classes(root, dir, shapes, trained, tmp_path):
    pictures = data.open("shapes_val", dir=shapes)
    for i in range(12):
        annotation = pictures.annotation(i)
        write(root / "images" / f"{i}.jpg", pictures.encoded(i))
        x1, y1, x2, y2 = annotation.boxes.T
        rows = zip(
            annotation.labels % 2, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, strict=True
        )
        write(root / "labels" / f"{i}.txt", "\n".join(" ".join(map(str, row)) for row in rows))
    write(root / "classes.txt", "round\nedged\n")
    run("yolo", root, dir, "--val=0.3")
    workdir = tmp_path / "run"
    sets = ["--config.data.train=mine/train", "--config.data.eval=mine/val"]
    first = shutil.copytree(trained[0], tmp_path / "first")
    sets.append(f"--config.init_from={first}")
    out = train(dir, workdir, *sets, "--until=3")
    fresh = re.search(r"weights from .*; fresh: (.*)", out)[1].split(", ")
    assert fresh == ["class round", "class edged"]
    shutil.rmtree(first)  # what it began from is not needed to go on
    assert "resumed at step 3" in train(dir, workdir, *sets)
    assert jaxdet.load(workdir).classes == ("round", "edged")
