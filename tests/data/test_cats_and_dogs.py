import contextlib
import io
import json
import random
import socket
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data import cats_and_dogs
from lib.data.cats_and_dogs import NAME, fetch
from lib.errors import UserError
from tests.http_server import Answer, serving

FEW = {"train/cats": 6, "train/dogs": 6, "validation/cats": 3, "validation/dogs": 3}
NOWHERE = "http://127.0.0.1:1/images.zip"  # nothing listens there
COUNTS = {
    f"{folder}/{folder[-4:-1]}.{number}.jpg": random.Random(f"{folder}{number}").randbytes(400)
    for folder, count in FEW.items()
    for number in range(count)
}


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    monkeypatch.setattr(cats_and_dogs, "COUNTS", FEW)


@contextlib.contextmanager
def silent(what, total, unit):
    yield lambda amount: None


def archive(without=(), more=(), **options):
    """The bytes of a zip archive of the data set, with members left out or added."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", **options) as file:
        file.writestr(f"{NAME}/", "")
        file.writestr(f"{NAME}/vectorize.py", "print()")
        for name, content in COUNTS.items():
            if name not in without:
                file.writestr(f"{NAME}/{name}", content)
        for name in more:
            file.writestr(name, "more")
    return packed.getvalue()


ARCHIVE = archive()
HALF = len(ARCHIVE) // 2


def unpack_by_hand(folder):
    for name, content in COUNTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def contents(folder):
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != f".{NAME}.lock")


# What is already there


def test_a_data_dir_that_is_the_unpacked_set_is_used_as_it_is(tmp_path):
    unpack_by_hand(tmp_path)
    assert fetch(tmp_path, [NOWHERE], silent) == tmp_path
    assert contents(tmp_path) == COUNTS


def test_a_set_in_the_cache_is_used_without_a_network(tmp_path):
    unpack_by_hand(tmp_path / NAME)
    assert fetch(tmp_path, [NOWHERE], silent) == tmp_path / NAME
    assert visible(tmp_path) == [NAME]


def test_another_folder_in_the_place_of_the_set_is_left_alone_and_named(tmp_path):
    (tmp_path / NAME / "train" / "cats").mkdir(parents=True)
    with serving(Answer(ARCHIVE)) as server, pytest.raises(UserError, match="move it away"):
        fetch(tmp_path, [server.url], silent)
    assert server.requests == []


# Downloads


def test_the_download_leaves_the_images_and_nothing_else(tmp_path):
    with serving(Answer(ARCHIVE)) as server:
        folder = fetch(tmp_path / "new" / "cache", [server.url], silent)
    assert folder == tmp_path / "new" / "cache" / NAME
    assert contents(folder) == COUNTS
    assert visible(folder.parent) == [NAME]


def test_the_next_start_goes_on_where_a_broken_download_stopped(tmp_path):
    with serving(Answer(ARCHIVE, breaks_off_after=HALF), Answer(status=503)) as server:
        with pytest.raises(UserError, match="run the same command again to go on"):
            fetch(tmp_path, [server.url], silent)
        assert not (tmp_path / NAME).exists()
        server.answers[:] = [Answer(ARCHIVE)]
        with serving(Answer(ARCHIVE)) as other:
            # The address that has the beginning is asked first, wherever it stands in the list.
            folder = fetch(tmp_path, [other.url, server.url], silent)
    assert other.requests == []
    assert server.requests[-1]["Range"] == f"bytes={HALF}-"
    assert contents(folder) == COUNTS


BAD_ANSWERS = {
    "says it is longer": Answer(ARCHIVE, announced=len(ARCHIVE) + 100),
    "says it is shorter": Answer(ARCHIVE, announced=HALF),
    "ends early without a length": Answer(ARCHIVE, announces_length=False, breaks_off_after=HALF),
    "sends a page": Answer(b"<!DOCTYPE html><title>Log in</title>"),
    "sends nothing": Answer(b""),
    "sends zeros after a good beginning": Answer(b"PK\x03\x04" + bytes(5000)),
    "404": Answer(status=404),
    "416": Answer(status=416),
    "500": Answer(status=500),
}


@pytest.mark.parametrize("bad", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_a_bad_server_leaves_nothing_that_passes_for_the_set(tmp_path, bad):
    with serving(bad) as server:
        for _ in range(2):
            with pytest.raises(UserError, match="could not be downloaded"):
                fetch(tmp_path, [server.url], silent)
            assert not (tmp_path / NAME).exists()
        server.answers[:] = [Answer(ARCHIVE)]
        assert contents(fetch(tmp_path, [server.url], silent)) == COUNTS


@pytest.mark.parametrize("bad", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_the_next_source_takes_over(tmp_path, bad):
    with serving(bad) as first, serving(Answer(ARCHIVE)) as second:
        assert contents(fetch(tmp_path, [first.url, second.url], silent)) == COUNTS
    assert visible(tmp_path) == [NAME]


# Archives


def with_link():
    link = zipfile.ZipInfo(f"{NAME}/train/away")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    return archive(more=[link])


def with_damage():
    content = COUNTS["train/dogs/dog.2.jpg"]
    assert ARCHIVE.count(content) == 1
    return ARCHIVE.replace(content, content[:-1] + bytes([content[-1] ^ 1]))


def with_damaged_compression():
    packed = bytearray(archive(compression=zipfile.ZIP_DEFLATED))
    member = f"{NAME}/train/dogs/dog.2.jpg".encode()
    packed[packed.index(member) + len(member)] = 0xFF  # a kind of block that does not exist
    return bytes(packed)


def with_headers(**changes):
    """The archive with the same bytes put into every header of its central directory."""
    places = {"flags": 8, "sizes": 20, "name": 46}
    packed = bytearray(ARCHIVE)
    at = packed.find(b"PK\x01\x02")
    while at >= 0:
        for field, new in changes.items():
            packed[at + places[field] : at + places[field] + len(new)] = new
        at = packed.find(b"PK\x01\x02", at + 1)
    return bytes(packed)


BAD_ARCHIVES = {
    "a damaged image": (with_damage(), "dog.2.jpg"),
    "cut off": (ARCHIVE[:-50], "not a zip file"),
    "a damaged compressed image": (with_damaged_compression(), "invalid block type"),
    "encrypted members": (with_headers(flags=b"\x01"), "encrypted"),
    "sizes beyond its end": (with_headers(sizes=b"\xff\xff\xff\x00" * 2), ""),
    "names in no known alphabet": (with_headers(flags=b"\x00\x08", name=b"\xff"), "decode"),
    "an unusual compression": (archive(compression=zipfile.ZIP_BZIP2), "compressed"),
    "an absolute path": (archive(more=["/outside.jpg"]), "outside the target"),
    "a path upwards": (archive(more=[f"{NAME}/../../outside.jpg"]), "outside the target"),
    "a path upwards among the images": (
        archive(more=[f"{NAME}/train/cats/../../../../outside.jpg"]),
        "outside the target",
    ),
    "a path with backslashes": (archive(more=["..\\outside.jpg"]), "outside the target"),
    "a link": (with_link(), "is a link"),
    "an image too few": (archive(without=["train/cats/cat.0.jpg"]), "5 images, not 6"),
    "an image too many": (
        archive(more=[f"{NAME}/validation/dogs/dog.9.JPG"]),
        "4 images, not 3",
    ),
    "something else in an image's place": (
        archive(without=["train/cats/cat.0.jpg"], more=[f"{NAME}/train/cats/._cat.0.jpg"]),
        "5 images, not 6",
    ),
    "a folder in an image's place": (
        archive(without=["train/cats/cat.0.jpg"], more=[f"{NAME}/train/cats/cat.0.jpg/"]),
        "5 images, not 6",
    ),
    "images elsewhere": (archive(without=COUNTS, more=COUNTS), "0 images, not 6"),
}


@pytest.mark.parametrize(("packed", "reason"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_a_bad_archive_is_removed_and_what_is_wrong_with_it_is_said(tmp_path, packed, reason):
    cache = tmp_path / "a" / "b" / "cache"
    with serving(Answer(packed)) as server, pytest.raises(UserError) as caught:
        fetch(cache, [server.url], silent)
    assert reason in str(caught.value)
    assert "removed" in str(caught.value)
    assert visible(cache) == []
    assert not list(tmp_path.rglob("outside.jpg"))


def test_other_members_are_no_fault_and_are_not_unpacked(tmp_path):
    more = ["__MACOSX/._x.jpg", f"{NAME}/README.txt", f"{NAME}/train/cats/Thumbs.db"]
    with serving(Answer(archive(more=more))) as server:
        assert contents(fetch(tmp_path, [server.url], silent)) == COUNTS


def test_a_compressed_archive_is_the_same_data_set(tmp_path):
    with serving(Answer(archive(compression=zipfile.ZIP_DEFLATED))) as server:
        assert contents(fetch(tmp_path, [server.url], silent)) == COUNTS


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, len(ARCHIVE) - 1), flipped=st.integers(1, 255))
def test_whatever_byte_is_damaged_no_damaged_image_gets_in(tmp_path_factory, at, flipped):
    cache = tmp_path_factory.mktemp("damaged")
    packed = bytearray(ARCHIVE)
    packed[at] ^= flipped
    with serving(Answer(bytes(packed))) as server:
        try:
            unpacked = contents(fetch(cache, [server.url], silent))
        except UserError:
            assert not (cache / NAME).exists()
        else:
            assert sorted(unpacked.values()) == sorted(COUNTS.values())


# Without a network, without space


def assert_names_the_ways_on(error):
    message = str(error)
    assert "\n" not in message
    for way in ["--dataset_url=", "--data_dir=", "--dataset=FOLDER", "--dataset=drawn"]:
        assert way in message


def test_without_a_network_one_line_names_the_ways_on(tmp_path, monkeypatch):
    def no_such_name(*_, **__):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    with pytest.raises(UserError, match="Temporary failure in name resolution") as caught:
        fetch(tmp_path, cats_and_dogs.SOURCES, silent)
    assert_names_the_ways_on(caught.value)
    assert visible(tmp_path) == []


def test_servers_that_never_answer_share_one_time_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(cats_and_dogs, "ANSWER_WITHIN", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with pytest.raises(UserError) as caught:
            fetch(tmp_path, [url, url], silent)
    assert str(caught.value).count("no answer within 0.1 seconds") == 2
    assert_names_the_ways_on(caught.value)


def test_a_full_disk_is_a_clear_error(tmp_path):
    (tmp_path / f"{NAME}.zip.part").symlink_to("/dev/full")
    with serving(Answer(ARCHIVE)) as server, pytest.raises(UserError, match="No space left"):
        fetch(tmp_path, [server.url], silent)


def test_a_disk_that_fills_while_unpacking_leaves_no_half_set(tmp_path, monkeypatch):
    limits = pytest.importorskip("resource")
    before = limits.getrlimit(limits.RLIMIT_FSIZE)

    @contextlib.contextmanager
    def full_from_now_on(what, total, unit):
        if what == "unpacking":
            limits.setrlimit(limits.RLIMIT_FSIZE, (300, before[1]))
        try:
            yield lambda amount: None
        finally:
            limits.setrlimit(limits.RLIMIT_FSIZE, before)

    with serving(Answer(ARCHIVE)) as server:
        with pytest.raises(UserError, match="cannot be kept"):
            fetch(tmp_path, [server.url], full_from_now_on)
        assert visible(tmp_path) == [f"{NAME}.zip.part", f"{NAME}.zip.part.json"]
        # What was downloaded is not downloaded again.
        assert contents(fetch(tmp_path, [server.url], silent)) == COUNTS
    assert len(server.requests) == 1


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_data_dir_that_cannot_be_one_is_a_clear_error(tmp_path, place):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="--data_dir=DIR"):
        fetch(tmp_path / place, [NOWHERE], silent)


# Kills and neighbours, with real processes

CHILD = """
import contextlib, json, sys
from pathlib import Path
from lib.data import cats_and_dogs

@contextlib.contextmanager
def progress(what, total, unit):
    def advance(amount):
        print(what.split()[0], amount, flush=True)
        if what == "unpacking":
            sys.stdin.readline()
    print(what, flush=True)
    yield advance

cats_and_dogs.COUNTS = json.loads(sys.argv[1])
print("fetched", cats_and_dogs.fetch(Path(sys.argv[2]), sys.argv[3:], progress), flush=True)
"""


@contextlib.contextmanager
def fetching(data_dir, url, stdin=subprocess.DEVNULL):
    command = [sys.executable, "-c", CHILD, json.dumps(FEW), str(data_dir), url]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, stdin=stdin, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def read_until(child, line):
    for said in child.stdout:
        if said.startswith(line):
            return
    raise AssertionError(f"the child ended without saying {line!r}")


def read_bytes_until(child, amount):
    """Reads until the child has reported that many bytes of the download."""
    came = 0
    for said in child.stdout:
        with contextlib.suppress(ValueError, IndexError):
            came += int(said.split()[1])
        if came >= amount:
            return
    raise AssertionError(f"the child ended after {came} bytes")


def test_a_process_killed_in_the_download_goes_on_to_the_same_bytes(tmp_path):
    with serving(Answer(ARCHIVE, holds_after=HALF), Answer(ARCHIVE)) as server:
        with fetching(tmp_path, server.url) as child:
            read_bytes_until(child, HALF)
            child.kill()
        assert not (tmp_path / NAME).exists()
        kept = (tmp_path / f"{NAME}.zip.part").stat().st_size
        assert contents(fetch(tmp_path, [server.url], silent)) == COUNTS
    assert kept > 0
    assert server.requests[1]["Range"] == f"bytes={kept}-"
    assert visible(tmp_path) == [NAME]


def test_a_process_killed_while_unpacking_leaves_no_half_set(tmp_path):
    with serving(Answer(ARCHIVE)) as server:
        with fetching(tmp_path, server.url, stdin=subprocess.PIPE) as child:
            read_until(child, "unpacking 1")
            child.kill()
        assert not (tmp_path / NAME).exists()
        assert contents(tmp_path / f".{NAME}.unpacking")  # killed in the middle indeed
        assert contents(fetch(tmp_path, [server.url], silent)) == COUNTS
    assert visible(tmp_path) == [NAME]
    assert len(server.requests) == 1


def test_two_processes_that_fetch_at_once_take_turns(tmp_path):
    answer = Answer(ARCHIVE, holds_after=HALF)
    with serving(answer) as server, fetching(tmp_path, server.url) as first:
        read_bytes_until(first, HALF)
        with fetching(tmp_path, server.url) as second:
            read_until(second, "waiting for another process")
            answer.released.set()
            read_until(first, f"fetched {tmp_path / NAME}")
            read_until(second, f"fetched {tmp_path / NAME}")
    assert len(server.requests) == 1
    assert contents(tmp_path / NAME) == COUNTS
