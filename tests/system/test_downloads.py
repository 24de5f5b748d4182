import contextlib
import os
import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.system import downloads as downloading
from lib.system.downloads import DownloadError, discard, source_of
from tests.http_server import Answer, serving

FILE = b"PK" + bytes(range(256)) * 8
OTHER_VERSION = b"PK" + bytes(reversed(range(256))) * 8  # of the same length
HALF = len(FILE) // 2


@contextlib.contextmanager
def silent(what, total, unit):
    yield lambda amount: None


def download(url, part, progress=silent, answer_within=5.0):
    downloading.download(url, part, b"PK", progress, answer_within)


@pytest.fixture
def part(tmp_path):
    return tmp_path / "images.zip.part"


@pytest.fixture
def half(part):
    """The server of a download that has just been broken off in the middle."""
    with serving(Answer(FILE, breaks_off_after=HALF), Answer(status=503)) as server:
        with pytest.raises(DownloadError):
            download(server.url, part)
        assert part.read_bytes() == FILE[:HALF]
        server.requests.clear()
        yield server


def test_a_file_arrives_as_it_is(part):
    with serving(Answer(FILE)) as server:
        download(server.url, part)
    assert part.read_bytes() == FILE


def test_a_broken_download_goes_on_where_it_stopped(half, part):
    half.answers[:] = [Answer(FILE)]
    download(half.url, part)
    assert part.read_bytes() == FILE
    assert [request["Range"] for request in half.requests] == [f"bytes={HALF}-"]


def test_a_connection_that_breaks_is_taken_up_again_within_one_call(part):
    with serving(Answer(FILE, breaks_off_after=800)) as server:
        download(server.url, part)
    assert part.read_bytes() == FILE
    assert [request["Range"] for request in server.requests] == [None, "bytes=800-", "bytes=1600-"]


def test_a_server_that_falls_silent_is_asked_again(part, monkeypatch):
    monkeypatch.setattr(downloading, "STALLED_AFTER", 0.2)
    with serving(Answer(FILE, holds_after=HALF), Answer(FILE)) as server:
        download(server.url, part)
    assert part.read_bytes() == FILE
    assert server.requests[1]["Range"] == f"bytes={HALF}-"


def test_without_progress_there_is_no_further_connection(part):
    longer = Answer(FILE, announced=len(FILE) + 1, knows_range=False)
    with serving(longer) as server, pytest.raises(DownloadError, match="2,050 of 2,051 bytes"):
        download(server.url, part)
    assert len(server.requests) == 2


def test_connections_that_bring_next_to_nothing_come_to_an_end(part):
    stingy = Answer(FILE, breaks_off_after=2)
    with serving(stingy) as server, pytest.raises(DownloadError, match="broke off"):
        download(server.url, part)
    assert len(server.requests) == downloading.CONNECTIONS


@settings(max_examples=40, deadline=None)
@given(
    rest=st.binary(max_size=600),
    cuts=st.lists(st.integers(0, 600), max_size=6),
    knows_range=st.booleans(),
    headers=st.sampled_from(
        [{}, {"ETag": '"1"'}, {"ETag": 'W/"1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}]
    ),
)
def test_wherever_connections_break_the_bytes_are_the_same(
    tmp_path_factory, rest, cuts, knows_range, headers
):
    part = tmp_path_factory.mktemp("cuts") / "images.zip.part"
    good = Answer(b"PK" + rest, headers=headers, knows_range=knows_range)
    broken = [
        Answer(good.body, headers=headers, knows_range=knows_range, breaks_off_after=cut)
        for cut in cuts
    ]
    with serving(*broken, good) as server:
        for _ in cuts:
            with contextlib.suppress(DownloadError):
                download(server.url, part)
        download(server.url, part)
    assert part.read_bytes() == good.body


@pytest.mark.parametrize(
    "now",
    [
        Answer(OTHER_VERSION, headers={"ETag": '"second"'}),
        Answer(OTHER_VERSION, headers={"ETag": '"second"'}, knows_if_range=False),
        Answer(OTHER_VERSION + b"more", headers={}, knows_if_range=False),
        Answer(OTHER_VERSION, headers={"ETag": '"second"'}, knows_range=False),
        Answer(OTHER_VERSION[:HALF], headers={}, knows_if_range=False),  # 416
    ],
    ids=["good server", "ignores If-Range", "no version", "ignores Range", "shorter than the part"],
)
def test_two_versions_of_a_file_are_never_mixed(half, part, now):
    half.answers[:] = [now]
    download(half.url, part)
    assert part.read_bytes() == now.body
    assert len(half.requests) <= 2


def test_a_beginning_without_a_version_is_not_continued_as_the_one_before_it(half, part):
    nameless = Answer(OTHER_VERSION, headers={}, knows_range=False, breaks_off_after=HALF + 10)
    half.answers[:] = [nameless, Answer(FILE)]
    download(half.url, part)
    assert part.read_bytes() == FILE


def test_a_file_whose_version_has_no_name_is_begun_anew(part):
    with serving(Answer(FILE, headers={}, breaks_off_after=HALF), Answer(FILE)) as server:
        download(server.url, part)
    assert part.read_bytes() == FILE
    assert [request["Range"] for request in server.requests] == [None, None]


def test_a_weak_etag_does_not_name_a_version(part):
    weak = {"ETag": 'W/"first"'}
    with serving(Answer(FILE, headers=weak, breaks_off_after=HALF), Answer(FILE)) as server:
        download(server.url, part)
    assert [request["If-Range"] for request in server.requests] == [None, None]


def test_a_part_from_one_address_is_not_continued_from_another(half, part):
    with serving(Answer(OTHER_VERSION)) as elsewhere:
        download(elsewhere.url, part)
    assert part.read_bytes() == OTHER_VERSION


def test_what_was_killed_after_the_last_byte_needs_no_network(half, part):
    part.write_bytes(FILE)
    download(half.url, part)
    assert part.read_bytes() == FILE
    assert half.requests == []


def test_another_kind_of_file_replaces_nothing_that_has_come_before(half, part):
    half.answers[:] = [Answer(b"<!DOCTYPE html><title>Log in</title>", headers={})]
    with pytest.raises(DownloadError, match="another kind of file"):
        download(half.url, part)
    assert part.read_bytes() == FILE[:HALF]
    assert source_of(part) == half.url


def test_a_damaged_record_only_costs_a_new_download(half, part):
    part.with_name(part.name + ".json").write_text("{")
    half.answers[:] = [Answer(FILE)]
    download(half.url, part)
    assert part.read_bytes() == FILE
    assert [request["Range"] for request in half.requests] == [None]


@pytest.mark.parametrize("status", [204, 403, 404, 416, 500, 503])
def test_a_refusal_is_named_and_keeps_the_part(half, part, status):
    half.answers[:] = [Answer(status=status)]
    with pytest.raises(DownloadError, match=f"answered {status}"):
        download(half.url, part)
    assert part.read_bytes() == FILE[:HALF]


def test_a_file_without_an_announced_length_is_taken_to_its_end(part):
    with serving(Answer(FILE, announces_length=False)) as server:
        download(server.url, part)
    assert part.read_bytes() == FILE


def test_progress_counts_every_byte_once_and_begins_at_what_is_there(half, part):
    half.answers[:] = [Answer(FILE)]
    reports = []

    @contextlib.contextmanager
    def progress(what, total, unit):
        reports.append((what, total, unit))
        yield reports.append

    download(half.url, part, progress)
    (first, *amounts) = reports
    assert first == ("downloading images.zip", len(FILE), "bytes")
    assert amounts[0] == HALF
    assert sum(amounts) == len(FILE)


def test_a_name_that_is_not_found_is_said_so(part, monkeypatch):
    def no_such_name(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    with pytest.raises(DownloadError, match="Name or service not known"):
        download("http://images.invalid/", part)


def test_a_look_up_of_a_name_that_never_ends_is_given_up(part, monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: ended.wait())
    with pytest.raises(DownloadError, match=r"no answer within 0\.1 seconds"):
        download("http://images.invalid/", part, answer_within=0.1)
    ended.set()


def test_a_server_that_never_answers_is_given_up(part):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with pytest.raises(DownloadError, match="no answer"):
            download(url, part, answer_within=0.1)


@pytest.mark.parametrize(
    "url",
    [
        "images.zip",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "http://",
        "http://[",
        "http://a b/",
    ],
)
def test_what_is_no_web_address_is_refused(part, url):
    with pytest.raises(DownloadError):
        download(url, part)
    assert not part.exists()


def test_a_full_disk_is_not_mistaken_for_a_broken_connection(part):
    part.symlink_to("/dev/full")
    with serving(Answer(FILE)) as server, pytest.raises(OSError, match="No space left"):
        download(server.url, part)


def test_a_discarded_download_leaves_nothing(half, part):
    discard(part)
    assert list(part.parent.iterdir()) == []
    assert source_of(part) is None


@pytest.mark.parametrize("stopped_after_the_last_byte", [False, True])
def test_a_file_is_on_the_disk_when_it_is_called_whole(
    part, monkeypatch, stopped_after_the_last_byte
):
    sizes = []
    sync = os.fsync

    def fsync(number):
        if os.fstat(number).st_ino == part.stat().st_ino:
            sizes.append(os.fstat(number).st_size)
        sync(number)

    with serving(Answer(FILE)) as server:
        if stopped_after_the_last_byte:
            download(server.url, part)
        monkeypatch.setattr(os, "fsync", fsync)
        download(server.url, part)
    assert len(server.requests) == 1
    assert sizes == [len(FILE)]
