"""Downloads: checked, unpacked, and run again where they broke off."""

import functools
import hashlib
import http.server
import pathlib
import shutil
import tarfile
import threading

import pytest
from tiny_sets import write_coco, write_voc

from jaxdet import data
from jaxdet.data import builder, coco, source, voc


@pytest.fixture
def devkit(tmp_path) -> pathlib.Path:
    dog = ("dog", 11, 7, 20, 18, False)
    write_voc(tmp_path / "VOCdevkit", {"train": {"1": [dog], "2": []}, "val": {"3": [dog]}})
    return tmp_path / "VOCdevkit"


@pytest.fixture
def dir(tmp_path) -> pathlib.Path:
    return tmp_path / "prepared"


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; the first answer breaks off in the middle."""

    broken = 1

    def copyfile(self, source, outputfile):
        if Server.broken:
            Server.broken -= 1
            outputfile.write(source.read(1000))
            self.close_connection = True
        else:
            super().copyfile(source, outputfile)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that is served at an address: (folder, address, add its files to the checksums)."""
    folder, sums = tmp_path / "site", tmp_path / "sums.tsv"
    folder.mkdir()
    monkeypatch.setattr(Server, "broken", 1)
    monkeypatch.setattr(source, "_CHECKSUMS", sums)
    handler = functools.partial(Server, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"

        def register(digest: str | None = None) -> None:
            lines = []
            for file in (path for path in folder.rglob("*") if path.is_file()):
                right = hashlib.sha256(file.read_bytes()).hexdigest()
                url = address + str(file.relative_to(folder))
                lines.append(f"{url}\t{file.stat().st_size}\t{digest or right}\t{file.name}\n")
            sums.write_text("".join(lines))

        yield folder, address, register
        server.shutdown()


def test_download_that_broke_off_can_be_run_again(devkit, dir, site, monkeypatch):
    folder, address, register = site
    with tarfile.open(folder / "VOCtrainval_06-Nov-2007.tar", "w") as tar:
        tar.add(devkit, "VOCdevkit")
    register()
    monkeypatch.setattr(voc, "_MIRROR", address)
    with pytest.raises(Exception, match="(?i)incomplete|broken|checksum"):
        data.open("voc_2007_train", dir=dir)
    assert not builder.is_prepared(dir, "voc_2007_train")
    assert len(data.open("voc_2007_trainval", dir=dir)) == 3
    assert not list((dir / "downloads").rglob("*.tmp.*"))
    shutil.rmtree(dir)
    register("0" * 64)
    with pytest.raises(Exception, match="wrong checksum"):
        data.open("voc_2007_train", dir=dir)


def test_coco_is_downloaded_as_two_archives(tmp_path, dir, site, monkeypatch):
    folder, address, register = site
    write_coco(tmp_path / "coco", {25: [{"category_id": 3, "bbox": [4, 5, 8, 10]}]})
    shutil.make_archive(
        folder / "annotations/annotations_trainval2017", "zip", tmp_path / "coco", "annotations"
    )
    shutil.make_archive(folder / "zips/val2017", "zip", tmp_path / "coco", "val2017")
    register()
    monkeypatch.setattr(Server, "broken", 0)
    monkeypatch.setattr(coco, "_SITE", address)
    dataset = data.open("coco_2017_val", dir=dir)
    assert list(dataset.ids) == ["25"] and dataset.image(0).shape == (20, 40, 3)


def test_without_a_network_it_gives_up_at_once_and_names_the_folder_to_give(dir, monkeypatch):
    monkeypatch.setattr(voc, "_MIRROR", "http://127.0.0.1:9/")  # refuses connections
    message = "http://127.0.0.1:9/.* cannot be downloaded .*refused.*--config.data.root=FOLDER"
    with pytest.raises(ValueError, match=message) as refused:
        data.open("voc_2007_train", dir=dir)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_longer_there_is_named(dir, site, monkeypatch):
    monkeypatch.setattr(voc, "_MIRROR", site[1])
    with pytest.raises(ValueError, match="VOCtrainval_06-Nov-2007.tar .*not found.*data.root"):
        data.open("voc_2007_train", dir=dir)


def test_all_that_can_be_downloaded_has_a_checksum():
    known = (pathlib.Path(source.__file__).parent / "checksums.tsv").read_text()
    for archive in voc._ARCHIVES.values():
        assert voc._MIRROR + archive + "\t" in known
    for year in ("2014", "2017"):
        for archive in (f"annotations/annotations_trainval{year}", f"zips/train{year}"):
            assert f"http://images.cocodataset.org/{archive}.zip\t" in known
        assert f"http://images.cocodataset.org/zips/val{year}.zip\t" in known
