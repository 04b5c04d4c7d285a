"""What a server must refuse or accept by RFC 9110 and RFC 9112, over raw connections."""

import pytest

from tests.e2e.conftest import Service
from tests.e2e.connections import connect, exchange, is_closed, post_generate, read_answer

HOST = "Host: localhost\r\n"
POST = f"POST /generate HTTP/1.1\r\n{HOST}"
CHUNKED = f"{POST}Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        # RFC 9112, 3.2: one Host header, and a target of a known form
        ("GET /health HTTP/1.1\r\n\r\n", 400),
        (f"GET /health HTTP/1.1\r\n{HOST}{HOST}\r\n", 400),
        ("GET /health HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (f"GET ftp://localhost/health HTTP/1.1\r\n{HOST}\r\n", 400),
        (f"GET http://elsewhere.example/health HTTP/1.1\r\n{HOST}\r\n", 400),
        (f"GET localhost:80 HTTP/1.1\r\n{HOST}\r\n", 400),
        (f"GET /a b HTTP/1.1\r\n{HOST}\r\n", 505),
        (f"GET /\x7f HTTP/1.1\r\n{HOST}\r\n", 400),
        # 5.1 and 5.2: no space before the colon, no folded lines, no control characters
        (f"GET /health HTTP/1.1\r\n{HOST}X-A : b\r\n\r\n", 400),
        (f"GET /health HTTP/1.1\r\n{HOST}X-A: b\r\n c\r\n\r\n", 400),
        (f"GET /health HTTP/1.1\r\n{HOST}X-A: b\rX-C: d\r\n\r\n", 400),
        (f"GET /health HTTP/1.1\r\n{HOST}X-A: b\0\r\n\r\n", 400),
        (f"GET /health HTTP/1.1\r\n{HOST}X-A: b\nX-C: d\r\n\r\n", 400),
        ("GET /health HTTP/1.1\nHost: localhost\n\n", 400),
        # 6: one way only to tell where the body ends
        (f"{POST}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
        (f"{POST}Content-Length: 5, 5\r\n\r\nhello", 400),
        (f"{POST}Content-Length: +5\r\n\r\nhello", 400),
        (f"{POST}Content-Length: -5\r\n\r\nhello", 400),
        (f"{POST}Content-Length: {'9' * 5000}\r\n\r\n", 400),
        (f"{POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (f"POST /generate HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (f"{POST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
        (f"{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (f"{POST}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
        (f"{POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (f"{POST}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 501),
        # 7.1: chunks
        (f"{CHUNKED}-1\r\n", 400),
        (f"{CHUNKED}+5\r\nhello\r\n0\r\n\r\n", 400),
        (f"{CHUNKED}0x5\r\nhello\r\n0\r\n\r\n", 400),
        (f"{CHUNKED}5;\r\nhello\r\n0\r\n\r\n", 400),
        (f"{CHUNKED}{'f' * 17}\r\n", 400),
        (f"{CHUNKED}4\r\nhello\r\n0\r\n\r\n", 400),
        (f"{CHUNKED}5\r\nhello0\r\n\r\n", 400),
        (f"{CHUNKED}0\r\nContent-Length: 5\r\n\r\n", 400),
        (f"{CHUNKED}{'f' * 16}\r\n", 413),
        # RFC 9110
        (f"GET /health HTTP/1.1\r\n{HOST}Expect: tea\r\n\r\n", 417),
        (f"GET /{'a' * 9000}", 414),
        (f"GET / HTTP/1.1\r\n{HOST}" + "X-A: b\r\n" * 10_000, 431),
        (f"GET /health HTTP/2.0\r\n{HOST}\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (f"{POST}Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{{}}", 415),
    ],
)  # fmt: skip
def test_refused(service: Service, sent: str, status: int) -> None:
    answer = exchange(service, sent.encode("latin-1"))
    assert answer.status == status
    assert answer.problem


@pytest.mark.parametrize(
    "sent",
    [
        f"GET /health HTTP/1.1\r\n{HOST}\r\n",
        f"\r\nGET /health HTTP/1.1\r\n{HOST}\r\n",
        "GET /health HTTP/1.0\r\n\r\n",
        "GET http://localhost/health HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n",
        f"GET /health HTTP/1.1\r\n{HOST}Expect: 100-Continue\r\n\r\n",
        f"GET /health HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\nhello",
        f"GET /health HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n"
        '5;name="v;w"\r\nhello\r\n0\r\nX-A: b\r\n\r\n',
    ],
)
def test_accepted(service: Service, sent: str) -> None:
    answer = exchange(service, sent.encode())
    assert (answer.status, answer.body) == (200, b'{"status":"ok","message":"Service is running"}')


def test_a_name_in_the_log_is_not_forged(service: Service) -> None:
    exchange(service, f"GET /%0d%0aforged%00 HTTP/1.1\r\n{HOST}\r\n".encode())
    assert not [line for line in service.log.read_text().splitlines() if line.startswith("forged")]


def test_what_follows_a_refused_request_is_never_another_one(service: Service) -> None:
    with connect(service) as connection:
        hidden = f"GET /health HTTP/1.1\r\n{HOST}\r\n"
        connection.sendall(f"{POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{hidden}".encode())
        assert read_answer(connection).status == 400
        connection.settimeout(5)
        assert is_closed(connection)


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (f"GET /health HTTP/1.1\r\n{HOST}", True),
        (f"GET /health HTTP/1.1\r\n{HOST}Connection: close\r\n", False),
        (f"GET /health HTTP/1.1\r\n{HOST}Connection: TE, close\r\n", False),
        (f"GET /health HTTP/1.0\r\n{HOST}", False),
        (f"GET /health HTTP/1.0\r\n{HOST}Connection: keep-alive\r\n", True),
        (f"HEAD /health HTTP/1.1\r\n{HOST}", True),
        (f"HEAD /nothing HTTP/1.1\r\n{HOST}", True),
        (f"POST /nothing HTTP/1.1\r\n{HOST}Content-Length: 5\r\n", True),
    ],
)
def test_whether_the_connection_is_kept(service: Service, head: str, kept: bool) -> None:
    method = head.split()[0]
    body = "hello" if method == "POST" else ""
    with connect(service) as connection:
        connection.sendall(f"{head}\r\n{body}".encode())
        answer = read_answer(connection, method=method)
        assert answer.headers["connection"] == ("keep-alive" if kept else "close")
        connection.settimeout(5)
        if kept:
            connection.sendall(f"GET /health HTTP/1.1\r\n{HOST}\r\n".encode())
            assert read_answer(connection).status == 200
        else:
            assert is_closed(connection)


def test_requests_sent_ahead_are_answered_in_their_order(service: Service) -> None:
    with connect(service) as connection:
        first = post_generate(service, max_new_tokens=8)
        connection.sendall(
            first + f"GET /nothing HTTP/1.1\r\n{HOST}\r\nGET /health HTTP/1.1\r\n{HOST}\r\n".encode()
        )
        assert [read_answer(connection).status for _ in range(3)] == [200, 404, 200]


def test_a_body_is_asked_for_if_its_client_waits_for_that_and_only_if_it_is_wanted(service: Service) -> None:
    head, body = post_generate(service, max_new_tokens=1).split(b"\r\n\r\n")
    with connect(service) as connection:
        connection.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert read_answer(connection).status == 200
    with connect(service) as connection:
        connection.sendall(f"{POST}Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")
