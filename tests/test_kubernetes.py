"""The manifests of `deploy/kubernetes`: valid, restricted, and in step with the service that they run."""

import math
import re
import shutil
import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml
from django.urls import get_resolver

from llmservice import metrics
from llmservice.environment import BASE_DIR, Environment
from tests.kustomize import Resource, identity, in_order, pod_spec, render

FOLDER = BASE_DIR / "deploy" / "kubernetes"
OVERLAYS = ("sqlite", "postgresql")
DOCKERFILE = (BASE_DIR / "Dockerfile").read_text()
# The oldest that runs today, and the newest whose schemas are there.
KUBERNETES_VERSIONS = ("1.30", "1.37")
# The API server's own list of what the level `restricted` allows.
RESTRICTED_VOLUMES = {"configMap", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}

overlays = pytest.mark.parametrize("overlay", OVERLAYS)


def one(overlay: str, kind: str) -> Resource:
    """The only resource of this kind."""
    (found,) = (resource for resource in render(FOLDER / overlay) if resource["kind"] == kind)
    return found


def container(overlay: str) -> dict[str, Any]:
    """The service's container."""
    (found,) = pod_spec(one(overlay, "Deployment"))["containers"]
    return found  # type: ignore[no-any-return]


def settings_of(overlay: str) -> dict[str, str]:
    """The environment of the container, as Kubernetes expands it."""
    values: dict[str, str] = {}
    for entry in container(overlay)["env"]:
        value = entry.get("value", "10.1.2.3")
        values[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], value)
    return values


def selects(selector: dict[str, str], resource: Resource) -> bool:
    labels = resource["spec"]["template"]["metadata"]["labels"]
    return bool(selector.items() <= labels.items())


@overlays
@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_every_resource_fits_the_schema_of_kubernetes(overlay: str, version: str) -> None:
    for resource in render(FOLDER / overlay):
        kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.slow
@overlays
def test_kustomize_renders_the_same(overlay: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(
        ["kubectl", "kustomize", FOLDER / overlay], capture_output=True, text=True, check=True
    )

    rendered = {identity(resource): in_order(resource) for resource in yaml.safe_load_all(done.stdout)}
    assert {identity(resource): in_order(resource) for resource in render(FOLDER / overlay)} == rendered


@overlays
def test_pods_fit_the_restricted_level_of_pod_security(overlay: str) -> None:
    labels = one(overlay, "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    specs = [spec for resource in render(FOLDER / overlay) if (spec := pod_spec(resource))]
    assert specs
    for spec in specs:
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert f"--uid {spec['securityContext']['runAsUser']} " in DOCKERFILE
        assert spec["automountServiceAccountToken"] is False
        assert {kind for volume in spec["volumes"] for kind in volume.keys() - {"name"}} <= RESTRICTED_VOLUMES
        for context in (one["securityContext"] for one in spec["containers"]):
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}


@overlays
def test_the_folders_that_the_service_writes_to_are_volumes(overlay: str) -> None:
    written = {
        "/tmp",  # noqa: S108
        *re.findall(r"(?:VAR_DIR|HF_HOME)=(/[a-z]\S+)", DOCKERFILE.split("USER llmservice")[1]),
    }
    assert len(written) == 3
    spec = pod_spec(one(overlay, "Deployment"))
    mounts = {mount["mountPath"]: mount["name"] for mount in container(overlay)["volumeMounts"]}

    assert mounts.keys() == written
    assert set(mounts.values()) == {volume["name"] for volume in spec["volumes"]}


@overlays
def test_the_settings_exist_and_are_valid(overlay: str) -> None:
    values = settings_of(overlay)
    environment = Environment.read(values)

    assert values.keys() - {"POD_IP", "PUBLIC_HOST"} <= Environment.variables().keys()
    (host,) = {rule["host"] for rule in one(overlay, "Ingress")["spec"]["rules"]}
    # Probes and Prometheus address the pod by its IP.
    assert set(environment.allowed_hosts) == {host, "10.1.2.3"}
    assert environment.https
    assert environment.trusted_proxies


@overlays
def test_no_manifest_contains_a_secret(overlay: str) -> None:
    resources = render(FOLDER / overlay)

    assert "Secret" not in {resource["kind"] for resource in resources}
    secret = {"API_KEY", "SECRET_KEY", "API_KEY_PEPPER", "DATABASE_URL", "METRICS_TOKEN", "HF_TOKEN"}
    assert not secret & settings_of(overlay).keys()
    assert container(overlay)["envFrom"] == [{"secretRef": {"name": "llmservice"}}]


@overlays
def test_probes_ask_the_addresses_of_the_service(overlay: str) -> None:
    service = container(overlay)
    ports = {port["name"] for port in service["ports"]}

    for probe, name in (("startupProbe", "health"), ("livenessProbe", "health"), ("readinessProbe", "ready")):
        asked = service[probe]["httpGet"]
        assert get_resolver().resolve(asked["path"]).url_name == name
        assert asked["port"] in ports


@overlays
def test_a_pod_has_time_to_answer_its_longest_request_before_it_is_killed(overlay: str) -> None:
    longest_s = Environment.read(settings_of(overlay)).llm_request_timeout_s
    _, pause = container(overlay)["lifecycle"]["preStop"]["exec"]["command"]
    # `graceful_timeout` of llmservice/gunicorn.conf.py.
    server_s = math.ceil(longest_s) + 10

    assert pod_spec(one(overlay, "Deployment"))["terminationGracePeriodSeconds"] > int(pause) + server_s


@overlays
def test_the_ingress_has_tls_and_the_limits_of_the_service(overlay: str) -> None:
    ingress = one(overlay, "Ingress")
    environment = Environment.read(settings_of(overlay))
    annotations = ingress["metadata"]["annotations"]

    assert [tls["hosts"] for tls in ingress["spec"]["tls"]] == [["llm.example"]]
    prefix = "nginx.ingress.kubernetes.io"
    assert int(annotations[f"{prefix}/proxy-read-timeout"]) > environment.llm_request_timeout_s
    assert annotations[f"{prefix}/proxy-body-size"] == f"{environment.max_body_bytes // 2**20}m"


@overlays
def test_the_service_reaches_its_pods_by_their_port(overlay: str) -> None:
    service = one(overlay, "Service")["spec"]

    assert selects(service["selector"], one(overlay, "Deployment"))
    assert {port["targetPort"] for port in service["ports"]} <= {
        p["name"] for p in container(overlay)["ports"]
    }


def test_sqlite_has_one_process_at_a_time_and_keeps_its_data() -> None:
    spec = one("sqlite", "Deployment")["spec"]
    claims = {
        r["metadata"]["name"] for r in render(FOLDER / "sqlite") if r["kind"] == "PersistentVolumeClaim"
    }

    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}
    volumes = {volume["name"]: volume for volume in spec["template"]["spec"]["volumes"]}
    assert {volumes[name]["persistentVolumeClaim"]["claimName"] for name in ("data", "models")} == claims


def test_replicas_belong_to_the_autoscaler_which_reads_a_metric_that_is_served() -> None:
    deployment, autoscaler = (one("postgresql", kind) for kind in ("Deployment", "HorizontalPodAutoscaler"))
    adapter = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text())

    assert "replicas" not in deployment["spec"]
    assert autoscaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    (metric,) = (entry["pods"]["metric"]["name"] for entry in autoscaler["spec"]["metrics"])
    assert metric in {family.name for family in metrics.queued.collect()}
    assert [rule["name"]["as"] for rule in adapter["rules"]["custom"]] == [metric]


def test_the_migration_job_gets_no_requests_and_does_not_count_as_a_replica() -> None:
    job = one("postgresql", "Job")

    assert not selects(one("postgresql", "Service")["spec"]["selector"], job)
    assert not selects(one("postgresql", "PodDisruptionBudget")["spec"]["selector"]["matchLabels"], job)
    assert selects(one("postgresql", "NetworkPolicy")["spec"]["podSelector"]["matchLabels"], job)


def test_only_postgresql_may_be_reached_beside_what_the_base_allows() -> None:
    def ports(overlay: str) -> set[int]:
        return {p["port"] for rule in one(overlay, "NetworkPolicy")["spec"]["egress"] for p in rule["ports"]}

    assert ports("sqlite") == {53, 443}
    assert ports("postgresql") == {53, 443, 5432}
