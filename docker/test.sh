#!/usr/bin/env bash
# Builds the image, starts it by docker-compose with the quick-start model, and tests it there. What it starts it
# ends, and removes all of it but the image. usage: docker/test.sh [PYTEST-ARGUMENTS]
# It needs docker, docker-compose and what `make` needs, which installs the tests. COMPOSE_EXTRA names a further
# compose file.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$PWD/.venv/bin/python
make .venv/.dev .venv/.native

free_port() { "$python" -c 'import socket; s = socket.create_server(("", 0)); print(s.getsockname()[1])'; }
taken() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

QUICKSTART_MODEL=$("$python" manage.py quickstart_model)
PORT=${PORT:-8000}
if taken "$PORT"; then
    PORT=$(free_port)
fi
# In float32 the texts are those of transformers.
export QUICKSTART_MODEL PORT LLM_QUANTIZATION=none LOG_FORMAT=text
export COMPOSE_FILE=$PWD/docker-compose.yml:$PWD/docker/quickstart.yml
if [[ -n ${COMPOSE_EXTRA:-} ]]; then
    COMPOSE_FILE+=:$(realpath "$COMPOSE_EXTRA")
fi
export COMPOSE_PROJECT_NAME=llmservice-test DEVELOPMENT_PROJECT=llmservice-test-development

down() {
    for project in "$COMPOSE_PROJECT_NAME" "$DEVELOPMENT_PROJECT"; do
        docker-compose --project-name "$project" down --volumes --remove-orphans --timeout 10
    done
}
finish() {
    status=$?
    if ((status)); then
        docker-compose logs --no-color --tail 100
    fi
    down
    exit "$status"
}

down # what a run that was killed has left
trap finish EXIT
docker-compose build
docker-compose up --detach
TEST_SERVICE_URL=http://127.0.0.1:$PORT "$python" -m pytest tests/e2e/test_service.py \
    tests/e2e/test_docs_browser.py tests/e2e/test_container.py tests/e2e/test_front_container.py --durations 5 "$@"
