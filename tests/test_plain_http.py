"""What proxies, health checks and clients rely on, asked of a real server by socket and curl."""

from __future__ import annotations

import csv
import gzip
import html
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.made_bundles import Made, make_bundle
from tests.test_serve import PNG, Server, encoded, picture_and_answer, png, serving

COLUMNS = ("it's", '"b"', "$HOME", "`id`", "<b>&amp;", "ü, ö", "a\\nb", "a: 1", "missing")
CODES = ("01", "1", "1e5", "missing", "null", "it's", "x y")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("digits"), "digits")


@pytest.fixture(scope="module")
def server(digits: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(digits, folder=tmp_path_factory.mktemp("server")) as server:
        yield server


def port(server: Server) -> int:
    return int(server.address.rpartition(":")[2])


def asked(server: Server, head: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """Status, headers by lower name and body of the answer to what is sent just so."""
    with socket.create_connection(("127.0.0.1", port(server)), timeout=60) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    told, _, content = answer.partition(b"\r\n\r\n")
    first, *lines = told.decode().split("\r\n")
    return (
        int(first.split()[1]),
        {n.lower(): v for n, v in (x.split(": ", 1) for x in lines)},
        content,
    )


def get(server: Server, target: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    return asked(server, f"{method} {target} HTTP/1.1\nHost: localhost\nConnection: close")


@pytest.mark.parametrize("path", ["/", "/docs", "/health", "/ready", "/model", "/openapi.json"])
def test_head_is_get_without_the_body(server: Server, path: str) -> None:
    status, headers, content = get(server, path, "HEAD")
    of_get = get(server, path)
    assert (status, content) == (200, b"") and of_get[0] == 200
    for name in ("content-length", "content-type"):
        assert headers[name] == of_get[1][name]
    assert int(headers["content-length"]) == len(of_get[2]) > 0


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/health", "GET, HEAD, OPTIONS"),
        ("/docs/", "GET, HEAD, OPTIONS"),
        ("*", "GET, HEAD, OPTIONS"),
        ("/predict", "OPTIONS, POST"),
    ],
)
def test_methods_are_told(server: Server, path: str, allowed: str) -> None:
    status, headers, content = get(server, path, "OPTIONS")
    assert (status, headers["allow"], content) == (204, allowed, b"")
    # No page of another origin may send more than a form can.
    assert not [name for name in headers if name.startswith("access-control")]
    status, headers, content = get(server, path.replace("*", "/"), "DELETE")
    assert (status, headers["allow"]) == (405, allowed)
    assert json.loads(content) == {"error": f"DELETE is none of its methods: {allowed}"}


def test_head_of_what_is_not_there(server: Server) -> None:
    assert get(server, "/nothing", "HEAD")[0] == get(server, "/nothing", "OPTIONS")[0] == 404
    assert get(server, "/predict", "HEAD")[0] == 405


@pytest.mark.parametrize(
    "target",
    ["/health/", "/%68ealth", "/health?a=b#c", "http://localhost/health", "HTTP://a.b:1/health"],
)
def test_one_path_written_in_other_ways(server: Server, target: str) -> None:
    status, _, content = get(server, target)
    assert (status, json.loads(content)) == (200, {"status": "alive"})


def test_http_1_0_without_a_host(server: Server) -> None:
    status, _, content = asked(server, "GET /health HTTP/1.0")
    assert (status, json.loads(content)) == (200, {"status": "alive"})
    assert asked(server, "GET /health HTTP/1.0\nHost: evil.example")[0] == 400
    assert asked(server, "GET /health HTTP/1.1\nConnection: close")[0] == 400


def test_accept_and_range_change_nothing(server: Server) -> None:
    for headers in ({"Accept": "text/xml"}, {"Range": "bytes=0-3"}, {"Accept-Encoding": "br"}):
        answer = server.get("/health", headers=headers)
        assert answer.status_code == 200 and answer.json() == {"status": "alive"}


def test_one_connection_for_many_requests(server: Server, digits: Made) -> None:
    content, _ = picture_and_answer(digits, 2)
    with requests.Session() as session:
        for _ in range(3):
            ok = session.post(f"{server.address}/predict", data=content, headers=PNG, timeout=60)
            assert ok.status_code == 200
            assert session.get(f"{server.address}/nothing", timeout=60).status_code == 404


def test_bodies_as_clients_send_them(server: Server, digits: Made) -> None:
    content, _ = picture_and_answer(digits, 2)
    expected = server.post(data=content, headers=PNG).json()
    kind = {"content-TYPE": "IMAGE/PNG; q=1"}
    assert server.post(data=content, headers=kind).json() == expected
    assert server.post(data=iter([content[:9], content[9:]]), headers=PNG).json() == expected
    # As curl does before it sends much: it waits for leave to go on.
    done = subprocess.run(
        [
            *("curl", "-sS", "-H", "Expect: 100-continue", "-H", "Content-Type: image/png"),
            *("--data-binary", "@-", f"{server.address}/predict"),
        ],
        input=content,
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout) == expected
    text = json.dumps(encoded(content))
    for sent in (text.encode("utf-8-sig"), text.encode("utf-16")):
        for told in ("application/json", "Application/JSON; charset=utf-8"):
            assert server.post(data=sent, headers={"Content-Type": told}).json() == expected


def test_what_is_not_read_says_how_to_send_it(server: Server) -> None:
    packed = gzip.compress(png(8, 8))
    refused = server.post(data=packed, headers={**PNG, "Content-Encoding": "gzip"})
    assert refused.status_code == 415 and "'gzip'" in refused.json()["error"]
    assert refused.headers["Accept-Encoding"] == "identity"
    form = server.post(files={"file": ("a.png", png(8, 8), "image/png")})
    assert form.status_code == 415
    assert "--data-binary @picture.png -H 'Content-Type: image/png'" in form.json()["error"]
    empty = server.post(headers={"Content-Type": "application/json"})
    assert empty.status_code == 400 and "no JSON" in empty.json()["error"]


def test_behind_a_proxy_that_puts_it_elsewhere(server: Server) -> None:
    told = {
        "X-Forwarded-Prefix": "/models/digits/",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "ml.example.org",
    }
    page = server.get("/docs", headers=told).text
    assert "https://ml.example.org/models/digits/predict" in page
    assert re.findall(r'href="([^"]*)"', page) == ["openapi.json"]
    described = server.get("/openapi.json", headers=told).json()
    assert described["servers"] == [{"url": "/models/digits"}]
    assert "servers" not in server.get("/openapi.json").json()
    refused = server.get("/predict", headers=told)
    assert refused.status_code == 405 and refused.headers["Allow"] == "OPTIONS, POST"
    for odd in ({"X-Forwarded-Prefix": "/<b>"}, {"X-Forwarded-Host": "a'; rm -rf ~"}):
        assert f"{server.address}/predict" in server.get("/docs", headers=odd).text


def examples(page: str) -> list[str]:
    return [html.unescape(text) for text in re.findall(r"<pre>(curl .*?)</pre>", page, re.DOTALL)]


def pasted(command: str, folder: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["bash", "-c", command.replace("curl", "curl -sS", 1)],
        cwd=folder,
        capture_output=True,
        check=True,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)["predictions"]
    return found


def test_the_page_s_examples_work_as_they_stand(server: Server, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(png(8, 8))
    commands = examples(server.get("/docs").text)
    assert len(commands) == 2 and all(f":{port(server)}/predict" in one for one in commands)
    for command in commands:
        (answer,) = pasted(command, tmp_path)
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    named = server.get("/docs", headers={"Host": f"localhost:{port(server)}"}).text
    assert f"http://localhost:{port(server)}/predict" in named


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A table with columns and categories that a shell, HTML or JSON could take for something."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "data").mkdir()
    with (folder / "data" / "data.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow([*COLUMNS, "code", "diagnosis"])
        for number in range(84):
            cells = [f"{number * (place + 1) % 17}.5" for place in range(len(COLUMNS))]
            rows.writerow(
                [
                    *cells[:-1],
                    "" if number % 5 == 0 else cells[-1],
                    CODES[number % 7],
                    "ab"[number % 2],
                ]
            )
    return make_bundle(folder, "breast_cancer", "data.source.target=diagnosis")


def test_a_table_s_example_works_whatever_its_columns_are_called(odd: Made, tmp_path: Path) -> None:
    with serving(odd, "--host", "::1", folder=tmp_path) as server:
        assert server.address.startswith("http://[::1]:")
        (command,) = examples(server.get("/docs").text)
        (answer,) = pasted(command, tmp_path)
        assert answer["predicted"] in ("a", "b")
        described = server.get("/openapi.json").json()
        content = described["paths"]["/predict"]["post"]["requestBody"]["content"]
        example = content["application/json"]["example"]
        (row,) = example["rows"]
        assert row.keys() == {*COLUMNS, "code"} and row["code"] == "01"
        assert server.post(json=example).json()["predictions"] == [answer]


def test_every_answer_is_as_it_is_described(server: Server, digits: Made) -> None:
    described = server.get("/openapi.json").json()
    names = [op["operationId"] for path in described["paths"].values() for op in path.values()]
    assert len(set(names)) == len(names) == 4
    content, _ = picture_and_answer(digits, 2)
    answers = [
        *(("get", path, server.get(path)) for path in ("/health", "/ready", "/model")),
        ("post", "/predict", server.post(data=content, headers=PNG)),
        ("post", "/predict", server.post(data=b"x", headers=PNG)),
        ("post", "/predict", server.post(data=b"x")),
    ]
    for method, path, answer in answers:
        known = described["paths"][path][method]["responses"][str(answer.status_code)]
        check(answer.json(), known["content"]["application/json"]["schema"])


def check(value: Any, schema: dict[str, Any]) -> None:
    """A value against the part of JSON Schema that is used here."""
    kinds = {"object": dict, "array": list, "string": str, "number": int | float, "boolean": bool}
    assert "type" not in schema or isinstance(value, kinds[schema["type"]]), (value, schema)
    assert "enum" not in schema or value in schema["enum"]
    assert "const" not in schema or value == schema["const"]
    assert all(name in value for name in schema.get("required", ()))
    for name, inner in schema.get("properties", {}).items():
        if name in value:
            check(value[name], inner)
    if "items" in schema:
        for one in value:
            check(one, schema["items"])
