"""The API over real HTTP: gunicorn, a database, the quick-start model."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.e2e.conftest import Service, StartService

PROMPTS = [
    f"{start} number {i}, and" for i in range(4) for start in ("Once upon a time", "The", "A sea", "Why")
]


@pytest.fixture
def client(service: Service) -> Any:
    with httpx.Client(base_url=service.url, headers={"X-API-Key": service.key}, timeout=120) as client:
        yield client


def text(client: httpx.Client, **body: Any) -> str:
    response = client.post("/generate", json=body)
    assert response.status_code == 200, response.text
    return str(response.json()["generated_text"])


def problem(response: httpx.Response, status: int) -> str:
    """Checks that the response is this status as a problem document, and returns its detail."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert "Traceback" not in response.text
    return str(response.json()["detail"])


def test_health_and_ready(service: Service) -> None:
    health = httpx.get(f"{service.url}/health")
    assert health.status_code == 200
    assert health.json() == {"status": "ok", "message": "Service is running"}
    assert httpx.get(f"{service.url}/ready").status_code == 200


def test_an_answer(client: httpx.Client) -> None:
    response = client.post("/generate", json={"prompt": "The capital of France is", "max_new_tokens": 10})
    answer = response.json()
    assert set(answer) == {"generated_text", "completion", "finish_reason", "seed", "model", "usage"}
    assert answer["generated_text"].startswith("The capital of France is")
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] <= 10


def test_greedy_text_is_that_of_transformers(client: httpx.Client, quickstart_model: Any) -> None:
    prompt = "The capital of France is"
    tokenizer = AutoTokenizer.from_pretrained(quickstart_model)
    model: Any = AutoModelForCausalLM.from_pretrained(quickstart_model)
    ids = tokenizer(prompt, return_tensors="pt")
    expected = tokenizer.decode(
        model.generate(**ids, max_new_tokens=20, do_sample=False)[0], skip_special_tokens=True
    )
    assert text(client, prompt=prompt, max_new_tokens=20, do_sample=False) == expected


def test_sixteen_at_once_get_the_texts_that_they_get_alone_and_health_answers_meanwhile(
    client: httpx.Client,
) -> None:
    bodies = [{"prompt": prompt, "max_new_tokens": 16, "seed": i} for i, prompt in enumerate(PROMPTS)]
    bodies[::4] = [{**body, "do_sample": False} for body in bodies[::4]]
    with ThreadPoolExecutor(len(bodies)) as pool:
        running = [pool.submit(text, client, **body) for body in bodies]
        answered = 0
        while not all(future.done() for future in running):
            assert client.get("/health", timeout=5).status_code == 200
            answered += 1
            time.sleep(0.1)
        together = [future.result() for future in running]
    assert answered > 1
    # Every third, of which two are greedy: alone each takes as long as all of them together.
    assert together[::3] == [text(client, **body) for body in bodies[::3]]


def test_a_key_is_needed(service: Service) -> None:
    url = f"{service.url}/generate"
    assert "X-API-Key" in problem(httpx.post(url, json={"prompt": "a"}), 403)
    problem(httpx.post(url, json={"prompt": "a"}, headers={"X-API-Key": "nonsense"}), 403)


def test_what_is_wrong_is_said(client: httpx.Client, service: Service) -> None:
    as_json = {"Content-Type": "application/json"}
    detail = problem(client.post("/generate", json={"prompt": "a", "max_tokens": 5}), 422)
    assert "did you mean max_new_tokens?" in detail
    detail = problem(client.post("/generate", json={"prompt": "a", "temperature": 3}), 422)
    assert detail.startswith("temperature: ")
    detail = problem(client.post("/generate", json={"prompt": "word " * 20_000}), 422)
    assert "tokens" in detail
    problem(client.post("/generate", content="{", headers=as_json), 400)
    problem(client.post("/generate", content="[" * 100_000, headers=as_json), 413)
    problem(client.post("/generate", content="{}", headers={"Content-Type": "text/plain"}), 415)
    # On a connection of its own: the server may close one whose body it does not care to read.
    problem(httpx.post(f"{service.url}/generate", content=b"x" * (2 << 20), headers=as_json), 413)
    problem(client.get("/generate"), 405)
    problem(client.post("/generate/", json={"prompt": "a"}), 404)
    problem(client.get("/nothing"), 404)
    problem(client.get("/health", headers={"Host": "elsewhere.example"}), 400)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"GET /{'a' * 9000} HTTP/1.1\r\nHost: localhost\r\n", 414),
        (f"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {'a' * 9000}\r\n", 431),
        ("GET / HTTP/1.1\r\n" + "".join(f"X-{i}: a\r\n" for i in range(101)), 431),
        ("GET / HTTP/1.1\r\nllms_hush\r\n", 400),
        ("GE<T / HTTP/1.1\r\n", 400),
        ("POST /generate HTTP/1.1\r\nContent-Length: ten\r\n", 400),
        ("POST /generate HTTP/1.1\r\nTransfer-Encoding: other\r\n", 501),
        ("POST /generate HTTP/1.1\r\nExpect: nothing\r\n", 417),
    ],
)
def test_what_the_server_itself_refuses_is_a_problem_too(service: Service, head: str, status: int) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    with (
        socket.create_connection((host, int(port)), timeout=20) as connection,
        connection.makefile() as answer,
    ):
        connection.sendall(f"{head}\r\n".encode())
        fields, body = answer.read().split("\n\n")
    assert fields.startswith(f"HTTP/1.1 {status} ")
    assert "Content-Type: application/problem+json" in fields
    assert json.loads(body)["status"] == status
    assert json.loads(body)["detail"]
    assert "hush" not in service.log.read_text()


def test_a_chunked_body_is_read_and_bounded(client: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    body = json.dumps({"prompt": "Once", "max_new_tokens": 2}).encode()
    response = client.post("/generate", content=iter([body[:10], body[10:]]), headers=headers)
    assert response.status_code == 200
    problem(client.post("/generate", content=(b"x" * 65536 for _ in range(32)), headers=headers), 413)


def test_a_body_that_breaks_off_is_no_failure_of_the_service(service: Service) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    head = (
        f"POST /generate HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {service.key}\r\n"
        "Content-Type: application/json\r\n"
    )
    for rest in ("Content-Length: 100\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\nzz\r\n"):
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall((head + rest).encode())
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65536).decode()
        assert answer == "" or " 400 " in answer.splitlines()[0]


def test_a_body_that_is_shorter_than_its_length_counts_for_nothing_though_it_is_sound(
    service: Service,
) -> None:
    key = service.create_key("cut short", "--tokens-per-day", "1000")
    request = (
        f"POST /generate HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\nConnection: close\r\n"
        'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"prompt": "a"}'
    )
    host, port = service.url.removeprefix("http://").split(":")
    with (
        socket.create_connection((host, int(port)), timeout=20) as connection,
        connection.makefile() as answer,
    ):
        connection.sendall(request.encode())
        connection.shutdown(socket.SHUT_WR)
        assert answer.readline().startswith("HTTP/1.1 400 ")
        assert json.loads(answer.readlines()[-1])["detail"] == "The body ended before it was complete."

    used = httpx.get(f"{service.url}/keys/me", headers={"X-API-Key": key}).json()
    assert used["left"]["tokens"] == 1000
    assert set(used["today"]["requests"].values()) == {0}


def test_a_client_that_goes_away_ends_its_generation_and_pays_for_what_was_generated(
    service: Service,
) -> None:
    key = service.create_key("impatient", "--tokens-per-day", "100000")
    before = len(service.log.read_text())
    host, port = service.url.removeprefix("http://").split(":")
    # Several at once, so that not all can be done before it is noticed.
    for seed in range(16):
        body = json.dumps({"prompt": "Once upon a time", "max_new_tokens": 200, "seed": seed})
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(
                f"POST /generate HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            )

    until = time.monotonic() + 120
    while time.monotonic() < until:
        today = httpx.get(f"{service.url}/keys/me", headers={"X-API-Key": key}).json()["today"]
        lines = service.log.read_text()[before:].splitlines()
        told = [line for line in lines if "outcome='cancelled'" in line]
        # The line is written a little after the account, and the two counts are read one after the other.
        settled = sum(today["requests"].values()) == 16 and today["reserved_tokens"] == 0
        if settled and len(told) == today["requests"]["cancelled"]:
            break
        time.sleep(0.1)
    assert today["requests"]["cancelled"] > 0
    assert today["requests"]["cancelled"] + today["requests"]["finished"] == 16
    assert today["reserved_tokens"] == 0
    assert 0 < today["completion_tokens"] < 16 * 200
    assert len(told) == today["requests"]["cancelled"]
    assert all('"POST /generate" 499' in line and "reason='client_closed_request'" in line for line in told)


def test_one_connection_serves_request_after_request(service: Service) -> None:
    """A HEAD, a refused body and an answer after one another: none may leave bytes for the next one."""
    with httpx.Client(base_url=service.url, headers={"X-API-Key": service.key}) as client:
        for _ in range(2):
            assert client.head("/generate").status_code == 405
            assert client.head("/health").status_code == 200
            problem(client.post("/generate", json={}), 422)
            assert client.get("/health").json()["status"] == "ok"


def test_while_the_model_loads_health_is_ok_and_the_rest_says_why_not(start_service: StartService) -> None:
    service = start_service()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            health = httpx.get(f"{service.url}/health")
            break
        except httpx.TransportError:
            time.sleep(0.02)
    assert health.json() == {"status": "ok", "message": "Service is running"}
    ready = httpx.get(f"{service.url}/ready")
    if ready.status_code == 200:
        pytest.skip("the model was loaded before it could be asked")
    assert "loading" in problem(ready, 503)
    assert int(ready.headers["Retry-After"]) > 0
    refused = httpx.post(
        f"{service.url}/generate",
        json={"prompt": "a", "max_new_tokens": 1},
        headers={"X-API-Key": service.key},
    )
    if refused.status_code != 200:
        assert "loading" in problem(refused, 503)
        assert int(refused.headers["Retry-After"]) > 0
    service.wait_ready()


def test_the_address_itself_is_a_page_that_leads_to_the_documentation(service: Service) -> None:
    assert 'href="/docs"' in httpx.get(service.url).text
    assert "swagger-ui" in httpx.get(f"{service.url}/docs").text
    assert httpx.get(f"{service.url}/schema").json()["openapi"].startswith("3.")
