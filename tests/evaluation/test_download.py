"""Proves that an archive becomes a folder whole or not at all, and that none can write elsewhere or fill the disk."""

import stat
import zipfile

import pytest

from serotine.errors import DownloadFailed, InvalidInput
from serotine.evaluation import _download
from serotine.evaluation._download import fetch_zip_folder


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "bats"


def make_zip(tmp_path, members):
    """Write bats.zip with the given ``{name or ZipInfo: text}`` and return its file:// URL."""
    path = tmp_path / "bats.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, text in members.items():
            archive.writestr(member, text)
    return path.as_uri()


def files_below(folder):
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_the_folder_of_the_archive_is_unpacked_and_nothing_else_stays(tmp_path, target):
    url = make_zip(tmp_path, {"bats/": "", "bats/corpus.jsonl": "one", "bats/qrels/test.tsv": "two", "__MACOSX/x": "-"})
    fetch_zip_folder(url, target, timeout_s=5)
    assert files_below(target.parent) == ["bats/corpus.jsonl", "bats/qrels/test.tsv"]
    assert (target / "qrels" / "test.tsv").read_text() == "two"


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    "member",
    ["../escaped", "bats/../../escaped", "/escaped", "bats/..\\..\\escaped", "C:/escaped", link("bats/link")],
    ids=["parent", "inner parent", "absolute", "backslash", "drive", "link"],
)
def test_an_archive_that_could_write_elsewhere_is_refused_as_a_whole(tmp_path, target, member):
    url = make_zip(tmp_path, {"bats/corpus.jsonl": "one", member: "/etc"})
    with pytest.raises(DownloadFailed, match="leads outside its folder"):
        fetch_zip_folder(url, target, timeout_s=5)
    assert files_below(tmp_path) == ["bats.zip"]
    assert list(target.parent.iterdir()) == []


def test_an_archive_beyond_a_limit_is_refused(tmp_path, target, monkeypatch):
    url = make_zip(tmp_path, {"bats/a": "x" * 5000, "bats/b": "x" * 5000})
    with pytest.raises(DownloadFailed, match="2 files of 10000 bytes, above the limits"):
        fetch_zip_folder(url, target, timeout_s=5, max_unpacked_bytes=9_999)
    with pytest.raises(DownloadFailed, match="larger than the limit of 50 bytes"):
        fetch_zip_folder(url, target, timeout_s=5, max_download_bytes=50)
    monkeypatch.setattr(_download, "MAX_MEMBERS", 1)
    with pytest.raises(DownloadFailed, match="limits of 1 files"):
        fetch_zip_folder(url, target, timeout_s=5)
    assert list(target.parent.iterdir()) == []


def test_a_damaged_archive_is_refused(tmp_path, target):
    url = make_zip(tmp_path, {"bats/corpus.jsonl": "echo " * 1000})
    whole = (tmp_path / "bats.zip").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"<html>not found</html>", b"", whole[:45] + b"\xff\xff" + whole[47:]):
        (tmp_path / "bats.zip").write_bytes(damaged)
        with pytest.raises(DownloadFailed, match="not a readable zip file"):
            fetch_zip_folder(url, target, timeout_s=5)
    assert list(target.parent.iterdir()) == []


def test_an_archive_with_another_folder_or_a_file_as_a_folder_is_refused(tmp_path, target):
    with pytest.raises(DownloadFailed, match="holds no folder 'bats'"):
        fetch_zip_folder(make_zip(tmp_path, {"owls/corpus.jsonl": ""}), target, timeout_s=5)
    with pytest.raises(DownloadFailed, match="cannot unpack 'bats/a/b'"):
        fetch_zip_folder(make_zip(tmp_path, {"bats/a": "", "bats/a/b": ""}), target, timeout_s=5)


def test_no_connection_says_what_to_do(tmp_path, target):
    with pytest.raises(DownloadFailed, match=r"cannot download .*absent\.zip.*unpack the zip file elsewhere"):
        fetch_zip_folder((tmp_path / "absent.zip").as_uri(), target, timeout_s=5)


def test_a_connection_that_ends_early_is_noticed(tmp_path, target, monkeypatch):
    class Response:
        headers = {"Content-Length": "1000"}  # noqa: RUF012
        blocks = [b"x" * 400, b""]  # noqa: RUF012

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            return None

        def read(self, size):
            return self.blocks.pop(0)

    monkeypatch.setattr(_download.urllib.request, "urlopen", lambda url, timeout: Response())
    with pytest.raises(DownloadFailed, match="ended after 400 of 1000 bytes"):
        fetch_zip_folder("https://example.org/bats.zip", target, timeout_s=5)
    assert list(target.parent.iterdir()) == []


def test_a_folder_that_another_process_made_meanwhile_stays(tmp_path, target):
    url = make_zip(tmp_path, {"bats/corpus.jsonl": "ours"})
    target.mkdir(parents=True)
    (target / "corpus.jsonl").write_text("theirs")
    fetch_zip_folder(url, target, timeout_s=5)
    assert files_below(target.parent) == ["bats/corpus.jsonl"]
    assert (target / "corpus.jsonl").read_text() == "theirs"


@pytest.mark.parametrize("url", ["http://example.org/bats.zip", "ftp://example.org/bats.zip", "bats.zip"])
def test_another_kind_of_url_is_refused(target, url):
    with pytest.raises(InvalidInput, match="must begin with https:// or file://"):
        fetch_zip_folder(url, target, timeout_s=5)
