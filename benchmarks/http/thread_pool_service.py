"""A service of the usual kind for comparison: one key from the environment, `generate` in a thread pool.

`PORT=… API_KEY=… python -m benchmarks.http.thread_pool_service FOLDER THREADS WORKERS`. It implements as much
of this project's `/generate`, `/health` and `/ready` as the load generator uses.
"""

import hmac
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


class TextModel:
    """Stock transformers, called by all threads of the pool at once."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def generate(self, body: dict[str, Any]) -> dict[str, Any]:
        inputs = self._tokenizer(body["prompt"], return_tensors="pt")
        output = self._model.generate(
            inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=body["max_new_tokens"],
            do_sample=True,
            temperature=0.7,
            top_k=50,
            pad_token_id=0,
        )
        prompt_tokens = inputs["input_ids"].shape[1]
        return {
            "generated_text": self._tokenizer.decode(output[0], skip_special_tokens=True),
            "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": output.shape[1] - prompt_tokens},
        }


def handler(model: TextModel, pool: ThreadPoolExecutor, key: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer(200, {"status": "ok"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not hmac.compare_digest(self.headers.get("X-API-Key", ""), key):
                self._answer(403, {"detail": "Wrong key."})
            else:
                self._answer(200, pool.submit(model.generate, body).result())

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            encoded = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing: writing a log would slow this service down."""

    return Handler


def main() -> None:
    folder, threads, workers = sys.argv[1:4]
    torch.set_num_threads(int(threads))
    model = TextModel(Path(folder))
    with ThreadPoolExecutor(max_workers=int(workers)) as pool:
        address = ("127.0.0.1", int(os.environ["PORT"]))
        server = ThreadingHTTPServer(address, handler(model, pool, os.environ["API_KEY"]))
        server.serve_forever()


if __name__ == "__main__":
    main()
