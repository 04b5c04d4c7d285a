"""An engine with OpenAI's API that answers as a test tells it, over real HTTP."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class ScriptedEngine:
    """What it answers by path, and what it was asked: paths, headers and bodies.

    Attributes:
        gone: set once a client has closed the connection of a stream that was not complete.
    """

    url: str = ""
    owner: str = "vllm"
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, Mapping[str, str], Any]] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)

    def bodies(self, path: str) -> list[Any]:
        """The bodies of the requests to a path."""
        return [body for asked, _, body in self.asked if asked == path]


def as_json(body: Any, *, status: int = 200, **headers: str) -> Answer:
    """Answers a JSON body."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def error(status: int, message: str, **more: Any) -> Answer:
    """Answers OpenAI's error object."""
    return as_json({"error": {"message": message, "type": "error", **more}}, status=status)


def stream(*pieces: bytes | Callable[[], object], done: bool = True) -> Answer:
    """Answers a stream of events; a function among the pieces is called in its turn."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        for piece in (*pieces, *([b"data: [DONE]\n\n"] if done else [])):
            if callable(piece):
                piece()
            else:
                handler.wfile.write(piece)

    return answer


def chunk(text: str = "", *, usage: tuple[int, int] | None = None, **more: Any) -> bytes:
    """A chunk of a completion; `usage` are the tokens of the prompt and of the text so far."""
    choice = {"index": 0, "text": text, "finish_reason": None, **more}
    body: dict[str, Any] = {"object": "text_completion", "choices": [choice]}
    if usage is not None:
        body["usage"] = dict(zip(("prompt_tokens", "completion_tokens"), usage, strict=True))
    return b"data: %s\n\n" % json.dumps(body).encode()


def each_in_turn(*answers: Answer) -> Answer:
    """Answers each time with the next; the last one stays."""
    left = list(answers)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler)

    return answer


def drops(handler: BaseHTTPRequestHandler) -> None:
    """Closes the connection without an answer."""
    handler.close_connection = True


@contextmanager
def scripted_engine(owner: str = "vllm", *, port: int = 0) -> Iterator[ScriptedEngine]:
    """A running engine with the model "far" of 256 tokens, for which every byte is a token."""
    engine = ScriptedEngine(owner=owner)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, body: Any) -> None:
            engine.asked.append((self.path, dict(self.headers), body))
            try:
                answer = engine.answers.get(self.path) or _usual(engine, self.path, body)
                answer(self)
                self.wfile.flush()
            except OSError:
                engine.gone.set()
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    engine.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield engine
    finally:
        server.shutdown()
        server.server_close()


def _usual(engine: ScriptedEngine, path: str, body: Any) -> Answer:
    if path == "/v1/models":
        model = {"id": "far", "object": "model", "owned_by": engine.owner, "max_model_len": 256}
        return as_json({"object": "list", "data": [model]})
    if path == "/tokenize":
        text = body.get("prompt") or "".join(message["content"] for message in body["messages"])
        tokens = list(text.encode())
        return as_json({"count": len(tokens), "max_model_len": 256, "tokens": tokens, "token_strs": None})
    return error(404, "There is nothing here.")
