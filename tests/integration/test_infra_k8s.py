"""The Kubernetes manifests: valid, restricted, reaching only their services, and true to what the program reads."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from loop import settings
from tests.infra import INFRA, compose, manifests, pods, refused, unread
from tests.services import require

K8S = INFRA / "k8s"
FILES = manifests()
PODS = dict(pods())
EXAMPLE = "secret.example.yaml"
VERSION = "1.35"
"""Of Kubernetes: the oldest one still looked after when this was written."""

each_pod = pytest.mark.parametrize("name", PODS)


def one(kind: str, name: str) -> dict[str, Any]:
    return next(m for file in FILES.values() for m in file if (m["kind"], m["metadata"]["name"]) == (kind, name))


def container(name: str) -> dict[str, Any]:
    (found,) = PODS[name]["containers"]
    return found


def environment(name: str) -> dict[str, str]:
    """What a pod's only container finds in its environment."""
    found = {each["name"]: each["value"] for each in container(name).get("env", [])}
    for source in container(name)["envFrom"]:
        if "configMapRef" in source:
            found |= one("ConfigMap", source["configMapRef"]["name"])["data"]
        else:
            found |= one("Secret", source["secretRef"]["name"])["stringData"]
    return found


def policy() -> str:
    return one("ConfigMap", "nightshift-policy")["data"]["nightshift.toml"]


@pytest.mark.parametrize("file", FILES)
def test_every_manifest_follows_the_schema_of_its_kind(file: str) -> None:
    for manifest in FILES[file]:
        kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_the_kustomization_names_every_file_but_the_example_of_secrets() -> None:
    named = yaml.safe_load((K8S / "kustomization.yaml").read_text())["resources"]
    assert sorted(named) == sorted(FILES.keys() - {EXAMPLE})


def test_the_secrets_are_placeholders_of_the_namespace() -> None:
    for secret in FILES[EXAMPLE]:
        assert secret["metadata"]["namespace"] == "nightshift"
        assert set(secret["stringData"].values()) == {"REPLACE-ME"}


@pytest.mark.parametrize("component", ["", "gpu"])
def test_kustomize_builds_it_with_and_without_a_gpu(component: str, tmp_path: Path) -> None:
    require("kubectl", present=shutil.which("kubectl") is not None, remedy="install kubectl")
    shutil.copytree(K8S, tmp_path / "k8s")
    if component:
        with (tmp_path / "k8s" / "kustomization.yaml").open("a") as file:
            file.write(f"components: [{component}]\n")
    built = subprocess.run(
        ["kubectl", "kustomize", tmp_path / "k8s"], capture_output=True, text=True, check=True
    ).stdout
    for manifest in yaml.safe_load_all(built):
        kubernetes_validate.validate(manifest, VERSION, strict=True)
        assert manifest["kind"] == "Namespace" or manifest["metadata"]["namespace"] == "nightshift"
    assert ("nvidia.com/gpu" in built) == bool(component)


@each_pod
def test_every_pod_is_admitted_to_a_restricted_namespace(name: str) -> None:
    pod, inside = PODS[name]["securityContext"], container(name)["securityContext"]
    assert pod["runAsNonRoot"]
    assert pod["runAsUser"] == 10001
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not inside["allowPrivilegeEscalation"]
    assert inside["readOnlyRootFilesystem"]
    assert inside["capabilities"] == {"drop": ["ALL"]}
    assert not PODS[name]["automountServiceAccountToken"]
    assert container(name)["resources"]["limits"]["memory"]
    assert one("Namespace", "nightshift")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@each_pod
def test_every_image_is_one_that_compose_builds(name: str) -> None:
    assert container(name)["image"] in {service["image"] for service in compose()["services"].values()}


@each_pod
def test_every_variable_of_ours_is_read_by_the_program(name: str) -> None:
    told = environment(name)
    assert told["NIGHTSHIFT_STORE_URL"]
    assert unread(told) == []


def test_the_program_knows_the_commands() -> None:
    for name in ("nightshift-capture", "nightshift-topics", "nightshift-rollback"):
        assert refused(container(name)["command"]) == ""


@each_pod
def test_the_program_stands_where_its_settings_are(name: str) -> None:
    mounts = {mount["name"]: mount["mountPath"] for mount in container(name)["volumeMounts"]}
    assert mounts["policy"] == "/etc/nightshift"
    assert {"name": "policy", "configMap": {"name": "nightshift-policy"}} in PODS[name]["volumes"]


def test_the_policy_has_no_key_that_the_program_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "nightshift.toml").write_text(policy())
    assert settings.load(tmp_path / "nightshift.toml").model.base == "/var/lib/nightshift/base"


def test_no_more_captures_are_started_than_there_are_partitions() -> None:
    scaler = one("HorizontalPodAutoscaler", "nightshift-capture")["spec"]
    assert scaler["maxReplicas"] == tomllib.loads(policy())["log"]["partitions"]
    assert scaler["scaleTargetRef"]["name"] == "nightshift-capture"


def test_labels_find_the_pods_of_capture() -> None:
    labels = one("Deployment", "nightshift-capture")["spec"]["template"]["metadata"]["labels"]
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert one(kind, "nightshift-capture")["spec"]["selector"]["matchLabels"] == labels
    assert one("NetworkPolicy", "metrics")["spec"]["podSelector"]["matchLabels"] == labels
    selector = one("NetworkPolicy", "mlflow")["spec"]["podSelector"]
    (reaching,) = selector["matchExpressions"]
    jobs = [one("CronJob", name)["spec"]["jobTemplate"] for name in ("nightshift-night", "nightshift-rollback")]
    labels = [job["spec"]["template"]["metadata"]["labels"] for job in jobs]
    assert [selector["matchLabels"] | {reaching["key"]: value} for value in reaching["values"]] == labels
    assert reaching["operator"] == "In"


def test_probes_and_scrapes_go_to_the_port_of_the_metrics() -> None:
    capture = container("nightshift-capture")
    assert capture["ports"] == [{"name": "metrics", "containerPort": 9108}]
    assert "0.0.0.0:9108" in capture["command"]
    probes = [capture[kind]["httpGet"] for kind in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert probes == [{"path": "/healthz", "port": "metrics"}] * 3
    (allowed,) = one("NetworkPolicy", "metrics")["spec"]["ingress"]
    assert allowed["ports"] == [{"protocol": "TCP", "port": 9108}]


@pytest.mark.parametrize(
    ("variable", "namespace", "port"),
    [
        ("NIGHTSHIFT_KAFKA_SERVERS", "kafka", 9093),
        ("NIGHTSHIFT_STORE_URL", "postgres", 5432),
        ("MLFLOW_TRACKING_URI", "mlflow", 5000),
    ],
)
def test_the_way_to_every_address_is_open_and_no_other(variable: str, namespace: str, port: int) -> None:
    address = environment("nightshift-night")[variable]
    assert f".{namespace}.svc" in address
    assert f":{port}" in address or variable == "NIGHTSHIFT_STORE_URL"
    ways = [way for found in FILES["network.yaml"] for way in found["spec"].get("egress", [])]
    space = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    assert {"to": [space], "ports": [{"protocol": "TCP", "port": port}]} in ways
    assert len(ways) == 4  # the fourth is DNS


def test_what_is_not_named_is_denied() -> None:
    denied = one("NetworkPolicy", "default-deny")["spec"]
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize(("code", "seen"), [(0, 0), (1, 1), (2, 2), (3, 0), (5, 5), (137, 137)])
def test_a_night_that_promotes_nothing_is_no_failed_job(code: int, seen: int, tmp_path: Path) -> None:
    (tmp_path / "nightshift").write_text(f'#!/bin/sh\ntest "$*" = run && exit {code}\n')
    (tmp_path / "nightshift").chmod(0o755)
    night = container("nightshift-night")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert subprocess.run([*night["command"], *night["args"]], env=environment, check=False).returncode == seen


def test_a_rollback_starts_by_hand_alone_and_needs_no_volume_of_the_night() -> None:
    rollback = one("CronJob", "nightshift-rollback")["spec"]
    assert rollback["suspend"]
    assert rollback["jobTemplate"]["spec"]["backoffLimit"] == 0
    assert not [volume for volume in PODS["nightshift-rollback"]["volumes"] if "persistentVolumeClaim" in volume]


def test_one_night_runs_at_a_time_and_faults_are_not_repeated() -> None:
    night = one("CronJob", "nightshift-night")["spec"]
    assert night["concurrencyPolicy"] == "Forbid"
    final, disrupted = night["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert (final["action"], final["onExitCodes"]["values"]) == ("FailJob", [1, 2])
    assert final["onExitCodes"]["containerName"] == container("nightshift-night")["name"]
    assert disrupted["action"] == "Ignore"
