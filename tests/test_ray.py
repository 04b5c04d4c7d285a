"""The configuration of nodes on Ray Serve agrees with the settings, and scales by the requests that run."""

from typing import Any

import pytest
import yaml

from llmservice.environment import BASE_DIR, Environment


@pytest.fixture(scope="module")
def configuration() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((BASE_DIR / "deploy" / "ray" / "serve.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def node(configuration: dict[str, Any]) -> dict[str, Any]:
    [application] = configuration["applications"]
    [deployment] = application["deployments"]
    return {**deployment, "args": application["args"]}


def test_nodes_are_added_before_requests_wait_in_those_there_are(node: dict[str, Any]) -> None:
    scaling, running = node["autoscaling_config"], node["args"]["LLM_MAX_RUNNING"]
    assert 1 <= scaling["min_replicas"] < scaling["max_replicas"]
    assert scaling["target_ongoing_requests"] < running <= node["max_ongoing_requests"]
    assert scaling["upscale_delay_s"] < scaling["downscale_delay_s"]
    assert "num_replicas" not in node  # it would fix their number


def test_no_limit_of_ray_ends_a_request_before_the_service_s_own(
    configuration: dict[str, Any], node: dict[str, Any]
) -> None:
    longest_s = Environment.read({}).llm_request_timeout_s
    assert configuration["http_options"]["request_timeout_s"] > longest_s
    assert node["graceful_shutdown_timeout_s"] > longest_s


def test_the_settings_of_nodes_exist(node: dict[str, Any]) -> None:
    assert {name for name in node["args"] if name.isupper()} <= set(Environment.variables())
