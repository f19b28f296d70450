"""What is an image: by how the file begins, whatever it is called."""

import cv2
import pytest
from tiny_sets import jpeg, picture

from jaxdet import data


def encoded(ending: str) -> bytes:
    return cv2.imencode(ending, picture(20, 30))[1].tobytes()


def test_images_by_content_and_reasons_for_the_others(tmp_path):
    whole = jpeg(picture(20, 30))
    images = {
        "a.jpg": whole,
        "b": whole,
        "c.weird": encoded(".png"),
        "d.JPEG": encoded(".png"),
        "e.gif": encoded(".gif"),
        "f.ppm": encoded(".ppm"),
        "g.avif": encoded(".avif"),
        "sub/h.WEBP": encoded(".webp"),
        "i é 细.tiff": encoded(".tiff"),
        "j.jpg": whole[: len(whole) // 2],  # shows when it is decoded
    }
    heic = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00" + bytes(60)
    unreadable = {
        "k.heic": (heic, "HEIC"),
        "l.jpg": (heic, "HEIC"),  # as a phone's export calls it
        "m": (heic, "HEIC"),
        "n.svg": (b'<?xml version="1.0"?><svg/>', "SVG"),
        "o.png": (b"", "an empty file"),
        "p.jpg": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        "q.jpg": (b"<!DOCTYPE html><p>404", "a web page"),
        "r.jpg": (b"hello", "the beginning of no image"),
    }
    others = {
        "BM.txt": b"BMW\nAudi\n",
        "classes.names": b"P3 x",
        "s.mp4": b"\0\0\0\x18ftypmp42" + bytes(90),
    }
    others |= {".hidden.jpg": whole, "__MACOSX/a.jpg": whole, "notes": b"hello"}
    files = images | {name: content for name, (content, _) in unreadable.items()} | others
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    readable, reasons = data.images_in(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in readable] == sorted(images)
    assert {path.name for path in reasons} == set(unreadable)
    for path, reason in reasons.items():
        assert reason.startswith(unreadable[path.name][1]) or unreadable[path.name][1] in reason
    for path in readable[:-1]:
        if path.name != "j.jpg":
            assert data.read_image(path).shape == (20, 30, 3)
    with pytest.raises(ValueError, match="truncated"):
        data.read_image(tmp_path / "j.jpg")
    with pytest.raises(ValueError, match="no folder at"):
        data.images_in(tmp_path / "nowhere")
