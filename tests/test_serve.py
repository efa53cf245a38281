"""`runforge serve`: a real process, asked over real HTTP."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import polars
import pytest
import requests
from PIL import Image

from runforge import cli
from tests.conftest import clean_environment
from tests.made_bundles import Made, make_bundle, said

START_S = 120
PNG = {"Content-Type": "image/png"}


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is up."""

    process: subprocess.Popen[str]
    address: str

    def get(self, path: str, **keywords) -> requests.Response:
        return requests.get(f"{self.address}{path}", timeout=60, **keywords)

    def post(self, **keywords) -> requests.Response:
        return requests.post(f"{self.address}/predict", timeout=60, **keywords)


@contextmanager
def serving(made: Made, *arguments: str, folder: Path) -> Iterator[Server]:
    """A server on a free port, warm; what it says goes to `folder/said`."""
    command = [sys.executable, "-m", "runforge", "serve", "--model", str(made.bundle)]
    said_at = folder / "said"
    with (
        said_at.open("w") as file,
        subprocess.Popen(
            [*command, "--port", "0", *arguments],
            env={**clean_environment(), "OMP_NUM_THREADS": "1"},
            stderr=file,
            stdout=file,
            text=True,
        ) as process,
    ):
        try:
            yield Server(process, _address(said_at, process))
        finally:
            process.kill()


def _address(said_at: Path, process: subprocess.Popen[str]) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"http://\S+", said_at.read_text())
        try:
            if found and requests.get(f"{found[0]}/ready", timeout=5).status_code == 200:
                return found[0]
        except requests.ConnectionError:
            pass
        time.sleep(0.1)
    pytest.fail(said_at.read_text())


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("digits"), "digits")


@pytest.fixture(scope="module")
def server(digits: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    limits = ("--max-body-mb", "1", "--max-pixels", "1000", "--max-waiting", "40")
    with serving(digits, *limits, folder=tmp_path_factory.mktemp("server")) as server:
        yield server


def picture_and_answer(made: Made, row: int) -> tuple[bytes, np.ndarray]:
    prepared, expected = said(made)
    return (made.data / prepared.where[row]).read_bytes(), expected[row].numpy()


def png(width: int, height: int) -> bytes:
    file = BytesIO()
    Image.new("L", (width, height)).save(file, "PNG")
    return file.getvalue()


def encoded(*contents: bytes) -> dict[str, list[str]]:
    return {"images": [base64.b64encode(content).decode() for content in contents]}


def check(answer: dict, expected: np.ndarray) -> None:
    assert list(answer["probabilities"]) == [str(c) for c in range(10)]
    found = list(answer["probabilities"].values())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert answer["predicted"] == str(expected.argmax())


def test_a_picture(server: Server, digits: Made) -> None:
    content, expected = picture_and_answer(digits, 11)
    answer = server.post(data=content, headers=PNG)
    assert answer.status_code == 200
    (one,) = answer.json()["predictions"]
    check(one, expected)


def test_pictures_in_json(server: Server, digits: Made) -> None:
    known = [picture_and_answer(digits, row) for row in (5, 70)]
    answer = server.post(json=encoded(*(content for content, _ in known)))
    for one, (_, expected) in zip(answer.json()["predictions"], known, strict=True):
        check(one, expected)


def test_what_it_says_of_itself(server: Server, digits: Made) -> None:
    assert server.get("/health").json() == {"status": "alive"}
    assert server.get("/ready").json() == {"ready": True}
    model = server.get("/model").json()
    assert model["classes"] == [str(c) for c in range(10)] and model["run_id"] == "abc"
    described = server.get("/openapi.json").json()
    assert set(described["paths"]) == {"/predict", "/health", "/ready", "/model"}
    post = described["paths"]["/predict"]["post"]
    assert set(post["requestBody"]["content"]) == {"image/*", "application/json"}
    assert set(post["responses"]) == {"200", "400", "408", "413", "415", "422", "503"}
    page = server.get("/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    # It loads nothing, from anywhere.
    assert not re.search(r"<script|<link|<img|src=|url\(", page.text)
    assert re.findall(r'href="([^"]*)"', page.text) == ["openapi.json"]


@pytest.mark.parametrize(
    ("given", "status", "told"),
    [
        ({"data": b"no picture", "headers": PNG}, 422, "no picture of a known format"),
        ({"data": b"", "headers": PNG}, 422, "it is empty"),
        ({"data": png(40, 40), "headers": PNG}, 422, "40×40 pixels, more than max_pixels (1000)"),
        ({"data": bytes(2**20 + 1), "headers": PNG}, 413, "longer than 1048576 bytes"),
        ({"data": iter([bytes(2**20)] * 2), "headers": PNG}, 413, "longer than 1048576 bytes"),
        ({"data": b"a=b"}, 415, "not told, not image/* or application/json"),
        ({"data": {"a": "b"}}, 415, "application/x-www-form-urlencoded"),
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "it is no JSON"),
        ({"data": b"[" * 10**5, "headers": {"Content-Type": "application/json"}}, 400, "deeply"),
        ({"json": {"rows": []}}, 422, '"images"'),
        ({"json": {"images": []}}, 422, "there are 0, not 1 to 256"),
        ({"json": {"images": ["AA=="] * 257}}, 422, "there are 257"),
        ({"json": {"images": ["%"]}}, 422, "images[0]: it is no base64"),
        ({"json": {"images": [7]}}, 422, "images[0]: it is no base64"),
        ({"json": encoded(png(8, 8), b"x")}, 422, "sample 1: it is no picture"),
    ],
)
def test_what_is_refused(server: Server, given: dict, status: int, told: str) -> None:
    answer = server.post(**given)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert told in answer.json()["error"] and "\n" not in answer.json()["error"]


def test_other_paths_methods_and_hosts(server: Server) -> None:
    assert server.get("/nothing").json() == {"error": "Not Found"}
    assert server.get("/predict").status_code == 405
    assert "OPTIONS, POST" in server.get("/predict").json()["error"]
    for host, status in {"localhost": 200, "127.0.0.1:8000": 200, "evil.example": 400}.items():
        assert server.get("/health", headers={"Host": host}).status_code == status


def test_it_is_bound_to_loopback(server: Server) -> None:
    port = int(server.address.rpartition(":")[2])
    bound = Path(f"/proc/{server.process.pid}/net/tcp").read_text()
    listening = [line.split()[1] for line in bound.splitlines()[1:] if line.split()[3] == "0A"]
    assert [one for one in listening if one.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


def test_many_at_once(server: Server, digits: Made) -> None:
    prepared, expected = said(digits)
    contents = [(digits.data / where).read_bytes() for where in prepared.where]

    def ask(number: int) -> None:
        row = number % len(contents)
        answer = server.post(data=contents[row], headers=PNG)
        assert answer.status_code == 200, answer.text
        check(answer.json()["predictions"][0], expected[row].numpy())

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(ask, range(320)))


def test_more_than_may_wait_are_told_so(server: Server, digits: Made) -> None:
    content, _ = picture_and_answer(digits, 0)
    port = int(server.address.rpartition(":")[2])
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    held = []
    for _ in range(40):
        held.append(socket.create_connection(("127.0.0.1", port)))
        held[-1].sendall(head + b"Content-Length: 5\r\n\r\nabc")
    time.sleep(1)
    busy = server.post(data=content, headers=PNG)
    assert busy.status_code == 503 and busy.headers["Retry-After"] == "1"
    assert "try again later" in busy.json()["error"]
    assert server.get("/health").status_code == 200
    for connection in held:
        connection.close()
    time.sleep(1)
    assert server.post(data=content, headers=PNG).status_code == 200


def test_a_table(tmp_path: Path) -> None:
    made = make_bundle(tmp_path, "breast_cancer")
    _, expected = said(made)
    frame = polars.read_csv(made.data / "data.csv")
    rows = frame.drop("diagnosis").rows(named=True)
    names = list(rows[0])
    with serving(made, folder=tmp_path) as server:
        answers = server.post(json={"rows": rows[:3]}).json()["predictions"]
        texts = [{name: str(cell) for name, cell in row.items()} for row in rows[:3]]
        assert server.post(json={"rows": texts}).json()["predictions"] == answers
        for row, answer in enumerate(answers):
            found = list(answer["probabilities"].values())
            np.testing.assert_allclose(found, expected[row].numpy(), rtol=1e-4, atol=1e-6)
        assert [answer["remarks"] for answer in answers] == [[], [], []]
        far = server.post(json={"rows": [{**rows[0], names[0]: 1e9}]}).json()["predictions"][0]
        assert f"'{names[0]}' is 1e+09, far outside of training's" in far["remarks"][0]
        missing = server.post(json={"rows": [{**rows[0], names[0]: None}]})
        empty = server.post(json={"rows": [{**rows[0], names[0]: ""}]})
        assert missing.status_code == 200 and missing.json() == empty.json()
        for cells, told in [
            ({**rows[0], names[1]: "many"}, "holds 'many', no finite number"),
            ({**rows[0], names[1]: [1]}, f"rows[0].{names[1]}: it is no text"),
            ({**rows[0], "x": 1}, "the model knows no column 'x'"),
            (dict(list(rows[0].items())[1:]), f"the column '{names[0]}' is not there"),
            (7, "rows[0]: it is no object"),
        ]:
            refused = server.post(json={"rows": [cells]})
            assert refused.status_code == 422 and told in refused.json()["error"]
        assert server.post(data=b"", headers=PNG).status_code == 415
        given = json.dumps({"rows": rows[:3]}).encode()
        body = stopped_amid(server, signal.SIGTERM, "application/json", given)
        assert json.loads(body)["predictions"] == answers


def stopped_amid(server: Server, number: int, kind: str, content: bytes) -> bytes:
    """The answer to a request whose body is half sent when the signal comes; then it ends."""
    host, _, port = server.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode())
        connection.sendall(content[:10])
        time.sleep(0.5)
        os.kill(server.process.pid, number)
        time.sleep(0.5)
        connection.sendall(content[10:])
        answer = b""
        while part := connection.recv(65536):
            answer += part
    told, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in told.splitlines()[0]
    assert server.process.wait(60) == 128 + number
    return body


def test_an_address_that_others_reach_and_ctrl_c(digits: Made, tmp_path: Path) -> None:
    names = ("--host", "0.0.0.0", "--allowed-host", "*.example.org")
    content, expected = picture_and_answer(digits, 3)
    with serving(digits, *names, folder=tmp_path) as server:
        assert "there is no password" in (tmp_path / "said").read_text()
        for host, status in {"a.example.org": 200, "example.com": 400}.items():
            assert server.get("/health", headers={"Host": host}).status_code == status
        body = stopped_amid(server, signal.SIGINT, "image/png", content)
    check(json.loads(body)["predictions"][0], expected)
    assert "Traceback" not in (tmp_path / "said").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "192.0.2.1"], "it can't be bound"),
        (["--host", "no.such.host.invalid"], "it can't be bound"),
        (["--allowed-host", "*"], "'*' is no host"),
        (["--model", "./gone"], "there is no bundle.json"),
    ],
)
def test_mistakes(digits: Made, capsys, arguments: list[str], told: str) -> None:
    given = ["serve", "--model", str(digits.bundle), "--port", "0", *arguments]
    assert cli.main(given) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("runforge: ") and told in line


def test_a_port_that_there_is_not(digits: Made, capsys) -> None:
    assert cli.main(["serve", "--model", str(digits.bundle), "--port", "99999"]) == 2
    assert "not in 0..65535" in capsys.readouterr().err


def test_a_port_that_is_taken(digits: Made, capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.main(["serve", "--model", str(digits.bundle), "--port", port]) == 2
    assert "Address already in use" in capsys.readouterr().err
