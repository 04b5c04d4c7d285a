"""Connections to the service over which a test decides byte by byte."""

import io
import json
import resource
import socket
from dataclasses import dataclass
from http.client import HTTPResponse

from tests.e2e.conftest import Service


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> str:
        """The detail of a problem document."""
        assert self.headers["content-type"] == "application/problem+json", self.body
        problem = json.loads(self.body)
        assert problem["status"] == self.status
        return str(problem["detail"])


class _Unbuffered:
    """Reads no byte beyond an answer, so that the next one can be read from the same connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._connection.makefile("rb", buffering=0), buffer_size=1)


def connect(service: Service) -> socket.socket:
    host, port = service.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def read_answer(connection: socket.socket, *, method: str = "GET") -> Answer:
    """The next final answer on the connection."""
    response = HTTPResponse(_Unbuffered(connection), method=method)  # type: ignore[arg-type]
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


def exchange(service: Service, sent: bytes, *, method: str = "GET") -> Answer:
    """Send these bytes on a connection of their own, and read the answer."""
    with connect(service) as connection:
        connection.sendall(sent)
        return read_answer(connection, method=method)


def is_closed(connection: socket.socket) -> bool:
    """Whether the service has closed the connection; waits for that until the connection's timeout."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def post_generate(service: Service, **fields: object) -> bytes:
    """The bytes of a request to generate."""
    body = json.dumps({"prompt": "Once upon a time", **fields})
    return (
        f"POST /generate HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {service.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def allow_descriptors(count: int) -> None:
    """Let this process open that many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
