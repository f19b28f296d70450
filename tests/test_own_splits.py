"""Which split an image is in: what data.yaml, lists, folders and JSON files say is read or said."""

import pytest
from own_folders import LINE, boxes, coco, images, said, scan, write, xml

from jaxdet.data.splits import split_of_file, split_of_folders

NAMES = "names: [cat, dog]\n"


def yolo(*folders: str, label: str = "labels") -> dict:
    """Two labelled images in each `images` folder, numbered on."""
    stems = [f"{folder}/{2 * n + m}" for n, folder in enumerate(folders) for m in range(2)]
    files = {f"{stem}.jpg": None for stem in stems}
    return files | {f"{stem.replace('images', label)}.txt": LINE for stem in stems}


A, B = ["a/images/0.jpg", "a/images/1.jpg"], ["b/images/2.jpg", "b/images/3.jpg"]


@pytest.mark.parametrize(
    "text",
    [
        "path: .\ntrain: a/images\nval: b/images\n",
        "train: ./a/images/\nval: ./b/images/\ntest:\n",
        "train: [a/images]\nval:\n  - b/images\n",
        "path: ../datasets/mine  # of another machine\ntrain: a/images\nval: b/images\n",
        "train: /content/mine/a/images\nval: /content/mine/b/images\n",
        "train: C:\\mine\\a\\images\nval: D:\\b\\images\n",
        "train: ../a/images\nvalid: ../b/images\n",
        "path: /x\ntrain: a\nval: b\n",
        "train: one.txt\nval: [two.txt]\n",
        "train: a/images/*.jpg\nval: b/**/*.jpg\n",
    ],
)
@pytest.mark.parametrize("at", ["", "config/"])
def test_data_yaml_says_which_images_are_for_what(tmp_path, text, at):
    write(tmp_path, yolo("a/images", "b/images") | {f"{at}data.yaml": NAMES + text})
    write(tmp_path, {"one.txt": "\n".join(A), "two.txt": "# val\n./" + "\n./".join(B)})
    assert images(scan("yolo", tmp_path)) == {"train": A, "val": B}


def test_data_yaml_with_several_folders_tests_and_an_absolute_path(tmp_path):
    write(tmp_path, yolo("a/images", "b/images", "c/images"))
    text = f"path: {tmp_path}\ntrain: [a/images, b/images]\ntest: c/images\nval: null\n"
    write(tmp_path, {"data.yaml": NAMES + text})
    c = ["c/images/4.jpg", "c/images/5.jpg"]
    assert images(scan("yolo", tmp_path)) == {"train": A + B, "test": c}


def test_what_data_yaml_states_and_is_not_here_is_said(tmp_path):
    write(tmp_path, yolo("train/images") | {"data.yaml": NAMES + "train: ../train/images\n"})
    with (tmp_path / "data.yaml").open("a") as file:
        file.write("val: ../valid/images\n")
    found = scan("yolo", tmp_path)
    assert images(found) == {"train": ["train/images/0.jpg", "train/images/1.jpg"]}
    assert "that is not here: 1 (first: " in said(found) and "val: ../valid/images" in said(found)


def test_the_same_folder_for_training_and_validation(tmp_path):
    write(tmp_path, yolo("a/images") | {"data.yaml": NAMES + "train: a/images\nval: a/images\n"})
    found = scan("yolo", tmp_path)
    assert images(found) == {"train": A} and "all images of train to val" in said(found)


def test_obj_data_of_darknet(tmp_path):
    text = "classes = 2\ntrain = data/one.txt\nvalid = data/two.txt\nnames = data/obj.names\n"
    write(tmp_path, yolo("a/images", "b/images") | {"data/obj.data": text})
    write(tmp_path, {"data/obj.names": "cat\ndog\n", "data/one.txt": "\n".join(A)})
    write(tmp_path, {"data/two.txt": "\n".join(B)})
    assert images(scan("yolo", tmp_path)) == {"train": A, "val": B}


@pytest.mark.parametrize("count", ["nc: 3\n", "nc: '2'\n", "nc: 2\n"])
def test_a_count_that_disagrees_with_the_names(tmp_path, count):
    write(tmp_path, yolo("images") | {"data.yaml": NAMES + count})
    assert ("nc is 3, 2 names" in said(scan("yolo", tmp_path))) == ("3" in count)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("environment.yml", "name: env\ndependencies: [python=3.11, pip: [torch]]\n"),
        ("conda.yaml", "names: 3\nchannels: [defaults]\n"),
        ("compose.yaml", "services: !reset null\n\tbroken: ["),
        ("list.yaml", "- 1\n- 2\n"),
        ("empty.yml", ""),
        ("bytes.yaml", b"\xff\xfe\x00"),
    ],
)
def test_a_yaml_of_something_else_is_passed_over(tmp_path, name, text):
    write(tmp_path, yolo("images") | {"classes.txt": "cat\ndog\n", name: text})
    found = scan("yolo", tmp_path)
    assert len(images(found)["train"]) == 2 and found.reading.classes == ("cat", "dog")
    assert "yaml file that describes no dataset: 1" in said(found)


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("train", "train"), ("Train", "train"), ("training", "train"), ("trainval", "train"),
        ("train2017", "train"), ("train_images", "train"), ("images_train", "train"),
        ("trainImages", "train"), ("training-set", "train"), ("val_images", "val"),
        ("valid", "val"), ("validation", "val"), ("val2017", "val"), ("VAL", "val"),
        ("Test", "test"), ("testing", "test"), ("test-dev2017", "test"), ("VOCtest", None),
        ("train_station", None), ("crash_test", None), ("train_val", None), ("images", None),
        ("latest", None), ("invalid", None),
    ],
)  # fmt: skip
def test_folders_that_name_a_split(folder, split):
    assert split_of_folders([folder, "images"]) == split


def test_json_files_that_name_a_split(tmp_path):
    names = {"instances_val2017": "val", "train": "train", "my_test_coco": "test", "all": None}
    assert {name: split_of_file(tmp_path / f"{name}.json") for name in names} == names


def test_folders_of_other_names_for_the_splits(tmp_path):
    write(tmp_path, yolo("train_images", "val_images", "Test", label="images"))
    write(tmp_path, {"classes.txt": "cat\n"})
    found = images(scan("yolo", tmp_path))
    assert {split: len(names) for split, names in found.items()} == dict(train=2, val=2, test=2)


def test_without_an_image_for_training_nothing_is_prepared(tmp_path):
    write(tmp_path, yolo("first", "second", "Test") | {"classes.txt": "cat\n"})
    with pytest.raises(
        ValueError, match=r"is for training: 2 are test, and 4 .*\(in first, second"
    ):
        scan("yolo", tmp_path)
    for folder in ("first", "second"):
        for path in (tmp_path / folder).iterdir():
            path.unlink()
    assert list(images(scan("yolo", tmp_path))) == ["test"]  # to be evaluated on, and no more


def test_lists_of_voc_beside_the_folders_and_in_two_splits(tmp_path):
    for n in range(4):
        write(tmp_path, {f"JPEGImages/{n}.jpg": None, f"Annotations/{n}.xml": xml()})
    write(
        tmp_path, {"train.txt": "0\n1.jpg\nAnnotations/2.xml\n", "val.txt": "JPEGImages/3.jpg\n0\n"}
    )
    found = images(scan("voc", tmp_path))
    assert found["train"] == ["JPEGImages/1.jpg", "JPEGImages/2.jpg"]
    assert found["val"] == ["JPEGImages/0.jpg", "JPEGImages/3.jpg"]  # never train on those


@pytest.mark.parametrize("form", ["yolo", "voc"])
def test_the_folder_of_the_annotation_says_the_split_where_the_images_have_none(tmp_path, form):
    text, suffix = {"yolo": (LINE, ".txt"), "voc": (xml(), ".xml")}[form]
    write(tmp_path, {"images/0.jpg": None, "images/1.jpg": None, "classes.txt": "cat\n"})
    write(tmp_path, {f"labels/train/0{suffix}": text, f"labels/val/1{suffix}": text})
    assert images(scan(form, tmp_path)) == {"train": ["images/0.jpg"], "val": ["images/1.jpg"]}


def test_images_in_no_split_are_said(tmp_path):
    write(tmp_path, {"train/0.jpg": None, "val/1.jpg": None, "other/2.jpg": None})
    write(tmp_path, {"all.json": coco("train/0.jpg", "val/1.jpg", "other/2.jpg")})
    found = scan("coco", tmp_path)
    assert images(found) == {"train": ["train/0.jpg"], "val": ["val/1.jpg"]}
    assert "image in no list or folder of train, val or test: 1" in said(found)


def test_val_is_chosen_among_usable_images(tmp_path):
    write(tmp_path, {f"{n}.jpg": None for n in range(8)} | {"0.jpg": b"\xff\xd8\xff", "1.jpg": ""})
    bad = {"image_id": 2, "bbox": [30, 5, -20, -5]}
    good = [{"image_id": n} for n in (0, 1, 3, 4, 5, 6, 7)]
    names = [f"{n}.jpg" for n in range(8)]
    write(tmp_path, {"a.json": coco(*names, things=[bad, *good])})
    for share in (0.2, 0.4, 0.8):
        found = scan("coco", tmp_path, share)
        assert len(found.splits["val"]) == found.chosen == round(5 * share)
        assert all(len(boxes(found)[id]) == 1 for id in images(found)["val"])
    assert "image without a usable box among those that it has, left out: 1" in said(found)
