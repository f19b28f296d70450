"""Which image an annotation means: paths, places and splits say more than a file name."""

import re

import pytest
from own_folders import BOX, LINE, boxes, coco, image, images, said, scan, write, xml

CAT = [("cat", *map(float, BOX))]
NAMES = {"classes.txt": "cat\ndog\n"}


def test_yolo_lists_of_paths_tell_same_names_apart(tmp_path):
    frames = [f"obj/video{v}/f{n}" for v in (1, 2) for n in range(2)]
    write(tmp_path, NAMES | {f"{f}.png": None for f in frames} | {f"{f}.txt": LINE for f in frames})
    write(tmp_path, {"train.txt": "data/obj/video1/f0.png\ndata/obj/video1/f1.png\n"})
    write(tmp_path, {"valid.txt": "/home/me/obj/video2/f0.png\nC:\\x\\obj\\video2\\F1.PNG\n"})
    expected = {"train": [f"obj/video1/f{n}.png" for n in range(2)]}
    expected["val"] = [f"obj/video2/f{n}.png" for n in range(2)]
    assert images(scan("yolo", tmp_path)) == expected
    # A listed file that is not here is not the one of the same name in another folder.
    (tmp_path / "obj/video2/f1.png").unlink()
    (tmp_path / "obj/video2/f1.txt").unlink()
    found = scan("yolo", tmp_path)
    assert images(found) == expected | {"val": expected["val"][:1]}
    assert "name in a list that has no usable image: 1" in said(found)


@pytest.mark.parametrize("row", ["./images/a.jpg", "images\\a.jpg", "/else/where/a.jpg", "a.jpg"])
def test_rows_of_a_list_in_every_form(tmp_path, row):
    write(tmp_path, NAMES | {f"images/{n}.jpg": None for n in "ab"} | {"train.txt": row})
    write(tmp_path, {f"labels/{n}.txt": LINE for n in "ab"} | {"test.txt": "./images/b.jpg"})
    assert images(scan("yolo", tmp_path)) == {"train": ["images/a.jpg"], "test": ["images/b.jpg"]}


@pytest.mark.parametrize(
    ("label", "photo", "other"),
    [
        ("labels/train/a/1", "images/train/a/1", "images/val/a/1"),
        ("labels/train/a/1", "images/train/a/1", "images/train/b/1"),
        ("train/labels/1", "train/images/1", "val/images/1"),
        ("a/1", "a/1", "b/1"),
        ("ann/x/1", "pics/x/1", "pics/y/1"),
        ("labels/1", "images/1", "masks/1"),
        ("Annotations/1", "JPEGImages/1", "SegmentationClass/1"),
        ("labels/1", "IMAGES/1", "depth_maps/1"),
    ],
)
@pytest.mark.parametrize("form", ["yolo", "voc"])
def test_a_missing_image_is_no_other_of_the_same_name(tmp_path, form, label, photo, other):
    text, suffix = {"yolo": (LINE, ".txt"), "voc": (xml(), ".xml")}[form]
    label_2, other_2 = label[:-1] + "2", other[:-1] + "2"
    write(tmp_path, {f"{label}{suffix}": text, f"{label_2}{suffix}": text, f"{photo}.jpg": None})
    write(tmp_path, NAMES | {f"{other}.png": None, f"{other_2}.png": None})
    found = scan(form, tmp_path)
    assert boxes(found)[f"{photo}.jpg"] == CAT
    assert f"{other_2}.png" not in boxes(found)  # neither with objects nor as background
    assert "annotation without an image file: 1" in said(found)


@pytest.mark.parametrize("photo", ["pics/2021/1.JPG", "x/1.webp", "1.jpeg", "images/deep/er/1.bmp"])
def test_layouts_of_other_names_are_understood(tmp_path, photo):
    write(tmp_path, {"gt/boxes/1.xml": xml(), photo: None})
    assert boxes(scan("voc", tmp_path)) == {photo: CAT}


def test_folders_that_are_all_called_like_masks_hold_photos(tmp_path):
    write(tmp_path, {"with_mask/1.jpg": None, "without_mask/2.jpg": None})
    write(tmp_path, {"xmls/1.xml": xml(), "xmls/2.xml": xml()})
    assert boxes(scan("voc", tmp_path)) == {"with_mask/1.jpg": CAT, "without_mask/2.jpg": CAT}


@pytest.mark.parametrize("more", ["<folder>b</folder>", "<path>C:\\me\\b\\1.jpg</path>", ""])
def test_the_folder_that_voc_states_decides_where_nothing_else_does(tmp_path, more):
    write(tmp_path, {"xml/1.xml": xml(more=more), "a/1.jpg": None, "b/1.jpg": None})
    write(tmp_path, {"xml/2.xml": xml(), "a/2.jpg": None})
    expected = {"a/2.jpg": CAT} | ({"b/1.jpg": CAT} if more else {})
    assert boxes(scan("voc", tmp_path)) == expected


@pytest.mark.parametrize("form", ["yolo", "voc", "coco"])
def test_two_folders_of_the_same_names_stay_in_doubt(tmp_path, form):
    write(tmp_path, {f"{f}/{n}.jpg": None for f in ("rgb", "gt_1") for n in range(4)} | NAMES)
    write(tmp_path, {"other/9.jpg": None})
    (tmp_path / "rgb/3.jpg").unlink()
    texts = {"yolo": (LINE, "txt"), "voc": (xml(), "xml"), "coco": ("", "none")}[form]
    write(tmp_path, {f"ann/{n}.{texts[1]}": texts[0] for n in (0, 1, 2, 3, 9)})
    write(tmp_path, {"a.json": coco("0.jpg", "1.jpg", "2.jpg", "3.jpg", "9.jpg")})
    found = scan(form, tmp_path)
    assert boxes(found) == {"other/9.jpg": CAT}
    assert "annotation that matches several images: 4" in said(found)


def test_same_stem_with_two_extensions_is_in_doubt(tmp_path):
    write(tmp_path, NAMES | {"images/1.jpg": None, "images/1.png": None, "images/2.jpg": None})
    write(tmp_path, {"labels/1.txt": LINE, "labels/2.txt": LINE})
    found = scan("yolo", tmp_path)
    assert boxes(found) == {"images/2.jpg": CAT}
    assert "annotation that matches several images: 1" in said(found)
    # What states an extension is not in doubt, nor is the other file background.
    write(tmp_path, {"a.json": coco("1.jpg", "2.jpg")})
    assert set(boxes(scan("coco", tmp_path, background=True))) == {"images/1.jpg", "images/2.jpg"}


def test_masks_are_never_background(tmp_path):
    photos = {f"images/{n}.jpg": None for n in range(4)}
    write(tmp_path, {"images/0_mask.png": None, "images/1-SEG.png": None})
    masks = {f"{folder}/{n}.png": None for folder in ("masks", "grey") for n in range(4)}
    write(tmp_path, NAMES | photos | masks | {f"labels/{n}.txt": LINE for n in range(3)})
    found = scan("yolo", tmp_path)
    assert set(boxes(found)) == set(photos) and boxes(found)["images/3.jpg"] == []
    assert "image without an annotation, kept as background: 1 (first: " in said(found)


@pytest.mark.parametrize("folder", ["masks", "grey", "images"])
def test_a_stated_extension_is_believed(tmp_path, folder):
    files = {f"images/{n}.jpg": None for n in (0, 1)} | {
        f"{folder}/{n}.png": None for n in range(3)
    }
    write(tmp_path, files | {"a.json": coco("0.jpg", "1.jpg", "2.jpg")})
    found = scan("coco", tmp_path)
    assert set(boxes(found)) == {"images/0.jpg", "images/1.jpg"}
    assert "annotation without an image file: 1 (first: 2.jpg)" in said(found)


def test_capitals_tell_files_apart_where_they_must(tmp_path):
    write(tmp_path, NAMES | {"A.jpg": None, "a.jpg": None, "b.JPG": None})
    write(tmp_path, {"a.txt": LINE, "B.TXT": LINE})
    assert boxes(scan("yolo", tmp_path)) == {"a.jpg": CAT, "b.JPG": CAT}


def test_images_converted_after_annotation_are_found_and_said(tmp_path):
    write(tmp_path, {"images/0.png": None, "images/1.png": None, "a.json": coco("0.jpg", "1.JPG")})
    found = scan("coco", tmp_path)
    assert set(boxes(found)) == {"images/0.png", "images/1.png"}
    assert "another extension than its annotation states: 2" in said(found)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["train2017/0.jpg", "val2017/0.jpg"], ["0.jpg", "0.jpg"]),
        (["images/train/0.jpg", "images/val/0.jpg"], ["0.jpg", "0.jpg"]),
        (["images/train/0.jpg", "images/val/0.jpg"], ["/x/y/train/0.jpg", "z\\val\\0.jpg"]),
        (["data/a/0.jpg", "data/b/0.jpg"], ["a/0.jpg", "./b/0.jpg"]),
    ],
)
def test_coco_jsons_mean_the_images_of_their_split(tmp_path, files, names):
    write(tmp_path, dict.fromkeys(files))
    for split, name in zip(("train", "val"), names, strict=True):
        write(tmp_path, {f"annotations/instances_{split}2017.json": coco(name)})
    assert images(scan("coco", tmp_path)) == {"train": [files[0]], "val": [files[1]]}
    (tmp_path / files[1]).unlink()
    write(tmp_path, {files[1].replace("0.jpg", "7.jpg"): None})
    assert images(scan("coco", tmp_path)) == {"train": [files[0]]}


def test_coco_jsons_beside_their_images_and_jsons_that_share_a_folder(tmp_path):
    roboflow = {f"{s}/{n}.jpg": None for s in ("train", "valid") for n in range(2)}
    write(tmp_path / "a", roboflow)
    for split in ("train", "valid"):
        write(tmp_path / "a", {f"{split}/_annotations.coco.json": coco("0.jpg", "1.jpg")})
    expected = {"train": ["train/0.jpg", "train/1.jpg"], "val": ["valid/0.jpg", "valid/1.jpg"]}
    assert images(scan("coco", tmp_path / "a")) == expected
    write(tmp_path / "b", {"train/0.jpg": None, "train/1.jpg": None})  # all in one folder
    write(tmp_path / "b", {"train.json": coco("0.jpg"), "val.json": coco("1.jpg")})
    assert images(scan("coco", tmp_path / "b")) == {
        "train": ["train/0.jpg"],
        "val": ["train/1.jpg"],
    }


def test_voc_years_with_the_same_names(tmp_path):
    for year, split in ((2007, "train"), (2012, "test")):
        write(tmp_path / f"VOC{year}", {"JPEGImages/1.jpg": None, "Annotations/1.xml": xml()})
        write(tmp_path / f"VOC{year}", {f"ImageSets/Main/{split}.txt": "1\n"})
        write(tmp_path / f"VOC{year}", {"ImageSets/Main/cat_val.txt": "1  1\n"})  # of a class
        write(tmp_path / f"VOC{year}", {"ImageSets/Segmentation/val.txt": "1\n"})
        write(tmp_path / f"VOC{year}", {"SegmentationClass/1.png": None})
    expected = {"train": ["VOC2007/JPEGImages/1.jpg"], "test": ["VOC2012/JPEGImages/1.jpg"]}
    assert images(scan("voc", tmp_path)) == expected


def test_voc_filename_where_the_name_of_the_file_says_nothing(tmp_path):
    for stem, name in (("ann_1", "photo 1.jpg"), ("ann_2", "photo 2"), ("3", "4.jpg")):
        write(tmp_path, {f"xml/{stem}.xml": xml(more=f"<filename>{name}</filename>")})
    photos = {f"images/{n}.jpg": None for n in ("photo 1", "photo 2", "3", "4")}
    write(tmp_path, photos | {"ImageSets/Main/train.txt": "ann_1\n3\n"})
    write(tmp_path, {"ImageSets/Main/val.txt": "photo 2\n"})
    found = scan("voc", tmp_path)
    expected = {"train": ["images/3.jpg", "images/photo 1.jpg"], "val": ["images/photo 2.jpg"]}
    assert images(found) == expected
    assert re.search(
        r"`filename` that names another image .*: 1 \(first: .*3.xml: 4.jpg\)", said(found)
    )


def test_an_image_that_cannot_be_read_is_said(tmp_path):
    heic = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00" + bytes(60)
    write(tmp_path, NAMES | {"images/1.jpg": None, "images/2.heic": heic, "images/3.jpg": ""})
    write(tmp_path, {f"labels/{n}.txt": LINE for n in (1, 2, 3)} | {"labels/4.txt": LINE})
    write(tmp_path, {"images/4.gif": None, "images/5": image()})
    found = scan("yolo", tmp_path)
    assert boxes(found) == {"images/1.jpg": CAT, "images/4.gif": CAT, "images/5": []}
    assert re.search(r"image file that cannot be read: 2 \(first: .*2.heic: HEIC", said(found))
    assert "annotation without an image file: 2" in said(found)


def test_background_of_coco_and_voc_is_asked_for(tmp_path):
    write(tmp_path, {"train/0.jpg": None, "train/1.jpg": None, "train.json": coco("0.jpg")})
    assert images(scan("coco", tmp_path)) == {"train": ["train/0.jpg"]}
    assert "(--background keeps such images): 1 (first: " in said(scan("coco", tmp_path))
    found = scan("coco", tmp_path, background=True)
    assert boxes(found) == {"train/0.jpg": CAT, "train/1.jpg": []}
    write(tmp_path, {"train/0.xml": xml()})
    assert boxes(scan("voc", tmp_path, background=True)) == boxes(found)
