"""compose.yaml: valid, closed to the outside, without secrets or moving versions, true to what the program reads."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from loop import settings
from tests.infra import BIN, INFRA, VARIABLE, compose, refused, unread
from tests.services import require

SERVICES: dict[str, dict[str, Any]] = compose()["services"]
ONCE = {"s3-volume", "topics"}
"""Services that end."""
SECRET = re.compile("PASSWORD|SECRET|CREDENTIAL|ACCESS_KEY|IDENTITY")

each_service = pytest.mark.parametrize("name", SERVICES)


def environment(name: str) -> dict[str, str]:
    return SERVICES[name].get("environment", {})


def test_it_follows_the_compose_specification() -> None:
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", INFRA / "compose.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_variable_is_explained_in_the_example_and_the_example_has_no_other() -> None:
    used = {found["name"] for found in VARIABLE.finditer((INFRA / "compose.yaml").read_text())}
    assert used == set(re.findall(r"^(\w+)=", (INFRA / ".env.example").read_text(), re.MULTILINE))


def test_the_defaults_are_those_of_the_example() -> None:
    used = VARIABLE.finditer((INFRA / "compose.yaml").read_text())
    defaults = {found["name"]: found["rest"] for found in used if found["mark"] == "-"}
    example = dict(re.findall(r"^(\w+)=(.*)$", (INFRA / ".env.example").read_text(), re.MULTILINE))
    assert {name: example[name] for name in defaults} == defaults


@each_service
def test_secrets_come_from_outside_or_nothing_starts(name: str) -> None:
    secrets = {key: text for key, text in environment(name).items() if SECRET.search(key)}
    assert all(VARIABLE.fullmatch(text) and ":?" in text for text in secrets.values()), secrets


@each_service
def test_every_image_has_a_version(name: str) -> None:
    _, _, tag = SERVICES[name]["image"].partition(":")
    assert re.search(r"\d+\.\d+", tag)


@each_service
def test_what_is_published_listens_on_loopback_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@each_service
def test_every_service_runs_without_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] or name == "kafka"
    assert service["deploy"]["resources"]["limits"]["memory"]


@each_service
def test_only_the_one_that_gives_a_volume_away_is_root(name: str) -> None:
    ours = "build" in SERVICES[name]
    user = SERVICES[name].get("user", "the image's" if ours else "unknown")
    assert (user.partition(":")[0] in {"root", "0", "unknown"}) == (name == "s3-volume")


@each_service
def test_every_lasting_service_is_watched_and_started_again(name: str) -> None:
    service = SERVICES[name]
    assert ("test" in service.get("healthcheck", {})) == (name not in ONCE)
    assert (service["restart"] == "unless-stopped") == (name not in ONCE)


@each_service
def test_a_service_waits_for_what_can_come_true(name: str) -> None:
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        assert wait["condition"] == ("service_completed_successfully" if other in ONCE else "service_healthy")


def test_only_services_with_a_page_or_a_listener_for_this_machine_are_on_the_network_with_a_way_out() -> None:
    assert compose()["networks"]["inside"]["internal"]
    outside = {name for name, service in SERVICES.items() if "edge" in service.get("networks", [])}
    assert outside == {name for name, service in SERVICES.items() if "ports" in service}
    assert {"capture", "night", "postgres"}.isdisjoint(outside)


@each_service
def test_what_is_mounted_from_this_folder_exists(name: str) -> None:
    mounted = [volume.split(":")[0] for volume in SERVICES[name].get("volumes", []) if volume.startswith(".")]
    assert all((INFRA / path).exists() for path in mounted)


@each_service
def test_every_variable_of_ours_is_read_by_the_program(name: str) -> None:
    assert unread(environment(name)) == []


@pytest.mark.parametrize("name", ["topics", "capture"])
def test_the_program_knows_the_commands(name: str) -> None:
    assert refused(SERVICES[name]["command"]) == ""


def test_the_metrics_are_where_the_health_check_and_prometheus_look() -> None:
    assert "0.0.0.0:9108" in SERVICES["capture"]["command"]
    assert "127.0.0.1:9108/healthz" in SERVICES["capture"]["healthcheck"]["test"][-1]
    assert "port: 9108" in (INFRA / "prometheus" / "prometheus.yaml").read_text()


@pytest.mark.parametrize("name", ["topics", "capture", "night"])
def test_the_program_stands_where_its_settings_are(name: str) -> None:
    assert "./compose.toml:/etc/nightshift/nightshift.toml:ro" in SERVICES[name]["volumes"]
    assert "WORKDIR /etc/nightshift" in (INFRA / "Dockerfile").read_text()


def test_the_policy_has_no_key_that_the_program_does_not_know() -> None:
    log = settings.load(INFRA / "compose.toml").log
    assert (log.replication_factor, log.min_insync_replicas) == (1, 1)


def test_mlflow_is_hardened() -> None:
    hardened = environment("mlflow")
    assert hardened["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert hardened["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert hardened["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert "*" not in hardened["MLFLOW_SERVER_ALLOWED_HOSTS"]


def test_the_volume_of_s3_is_given_away_again_and_again_with_no_other_capability(tmp_path: Path) -> None:
    require("root", present=os.geteuid() == 0, remedy="run the tests as root")
    service = SERVICES["s3-volume"]
    command = [text.replace("/data", f"{tmp_path}/data") for text in service["command"]]
    kept = ",".join(["-all", *(f"+{capability.lower()}" for capability in service["cap_add"])])
    for _ in range(2):
        subprocess.run(["setpriv", f"--inh-caps={kept}", f"--bounding-set={kept}", *command], check=True)
    owners = {path.stat().st_uid for path in (tmp_path / "data", tmp_path / "data" / "mlflow")}
    assert owners == {int(SERVICES["s3"]["user"].partition(":")[0])}
