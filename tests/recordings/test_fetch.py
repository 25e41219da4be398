"""`fetch` against a server of our own on 127.0.0.1: whole, wrong, cut, missing files, and nobody there."""

import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sleepkit.recordings import download, fetch

GOOD = {"SC4001E0-PSG.edf": b"0       " + bytes(range(256)) * 800, "SC4001EC-Hypnogram.edf": b"0       hypnogram"}
SUMS = {name: hashlib.sha1(content).hexdigest() for name, content in GOOD.items()}
PSG, HYPNOGRAM = GOOD


class Server:
    """Serves GOOD; `faults` maps a name to what happens to its next requests: "cut", "wrong", or a status."""

    def __init__(self):
        self.asked, self.faults = [], {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.rpartition("/")[2]
                outer.asked.append(name)
                queue = outer.faults.get(name, [])
                fault = queue.pop(0) if queue else "good"
                content = GOOD.get(name)
                if content is None or isinstance(fault, int):
                    return self.send_error(404 if content is None else fault)
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if fault == "cut":
                    self.wfile.write(content[: len(content) // 2])  # and the connection closes
                else:
                    self.wfile.write(content if fault == "good" else content[::-1])

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/files"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def waits(monkeypatch):
    """The waits that were asked for, in place of the time they take."""
    slept = []
    monkeypatch.setattr(download.time, "sleep", slept.append)
    return slept


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_good_files_and_again(server, tmp_path):
    paths = fetch(tmp_path / "new", base_url=server.url, registry=SUMS)
    assert paths == [tmp_path / "new" / PSG, tmp_path / "new" / HYPNOGRAM] and contents(tmp_path / "new") == GOOD
    assert server.asked == [PSG, HYPNOGRAM]
    assert fetch(tmp_path / "new", base_url=server.url + "/", registry=SUMS) == paths
    assert server.asked == [PSG, HYPNOGRAM]  # verified files are not fetched again


def test_damaged_file_is_fetched_again(server, tmp_path):
    (tmp_path / PSG).write_bytes(GOOD[PSG][:-1])
    (tmp_path / HYPNOGRAM).write_bytes(GOOD[HYPNOGRAM])
    fetch(tmp_path, base_url=server.url, registry=SUMS)
    assert server.asked == [PSG] and contents(tmp_path) == GOOD


def test_default_folder(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SLEEPKIT_DATA", str(tmp_path / "nights"))
    fetch(base_url=server.url, registry=SUMS)
    assert contents(tmp_path / "nights") == GOOD


@pytest.mark.parametrize("fault", ["cut", "wrong", 503])
def test_passing_trouble_is_retried(server, tmp_path, waits, fault):
    server.faults[PSG] = [fault, fault]
    fetch(tmp_path, base_url=server.url, registry=SUMS)
    assert contents(tmp_path) == GOOD
    assert server.asked == [PSG] * 3 + [HYPNOGRAM] and waits == [1, 2]


@pytest.mark.parametrize("fault, problem", [("cut", "was cut"), ("wrong", "another SHA-1"), (503, "answers 503")])
def test_lasting_trouble_is_named_and_the_rest_is_kept(server, tmp_path, waits, fault, problem):
    server.faults[PSG] = [fault] * 9
    with pytest.raises(
        download.FetchError, match=f"1 of 2 files(.|\n)*{PSG}: .*{problem}.*check(.|\n)*run the same command"
    ):
        fetch(tmp_path, base_url=server.url, registry=SUMS)
    assert contents(tmp_path) == {HYPNOGRAM: GOOD[HYPNOGRAM]}  # and no half of the other
    assert waits == [1, 2, 4, 8] and server.asked == [PSG] * 5 + [HYPNOGRAM]


def test_damaged_file_stays_until_the_whole_one_is_there(server, tmp_path, waits):
    (tmp_path / PSG).write_bytes(b"damaged")
    server.faults[PSG] = ["cut"] * 9
    with pytest.raises(download.FetchError, match=PSG):
        fetch(tmp_path, base_url=server.url, registry=SUMS)
    assert (tmp_path / PSG).read_bytes() == b"damaged"
    server.faults.clear()
    fetch(tmp_path, base_url=server.url, registry=SUMS)
    assert contents(tmp_path) == GOOD


def test_missing_file_is_not_asked_for_twice(server, tmp_path, waits):
    with pytest.raises(
        download.FetchError, match="1 of 3 files(.|\n)*SC4011E0-PSG.edf: the server answers 404.*base_url"
    ):
        fetch(tmp_path, base_url=server.url, registry=SUMS | {"SC4011E0-PSG.edf": "0" * 40})
    assert contents(tmp_path) == GOOD and waits == [] and server.asked.count("SC4011E0-PSG.edf") == 1


def test_nobody_listening(tmp_path, waits):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(
        download.FetchError, match="2 of 2 files(.|\n)*no answer from http://127.0.0.1.*check the network"
    ):
        fetch(tmp_path, base_url=url, registry=SUMS)
    assert waits == [1, 2, 4, 8]  # for the first file; with the server gone the second is tried once
    assert contents(tmp_path) == {}


def test_unwritable_folder_is_named(server, tmp_path, waits):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(download.FetchError, match="cannot be written.*check the folder"):
        fetch(tmp_path / "file", base_url=server.url, registry=SUMS)
    assert waits == []


def test_unknown_data_set(tmp_path):
    with pytest.raises(ValueError, match="edf20 and edf78"):
        fetch(tmp_path, dataset="edf30")
    assert not any(tmp_path.iterdir())
