"""The tests of a file run in one process, so that what they share is made once."""

import os

import pytest

from llmservice.environment import BASE_DIR


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="the tests run in one process")
@pytest.mark.parametrize("parameter", ["a", "b"])
def test_a_test_is_given_to_a_process_with_its_file(request: pytest.FixtureRequest, parameter: str) -> None:
    assert request.node.nodeid.endswith(f"[{parameter}]@{request.path.relative_to(BASE_DIR)}")
