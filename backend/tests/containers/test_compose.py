"""The rules that docker-compose.yml keeps; whether it works, scripts/verify_compose.py tries."""

import os
import re
import subprocess
from typing import Any, Final

import pytest
import yaml

from app.core.reference import DECIDED_BY_COMPOSE, compose_settings, env_template
from app.core.tasks import QUEUES
from app.integrations import vault_setup
from app.settings import Settings
from app.settings.vault import ENTRIES
from tests.paths import PROJECT

ONCE: Final = {"bootstrap", "migrate", "storage", "topics", "certificate", "vault-init"}
PRODUCT: Final = {"api", "worker", "relay", "celery-worker", "celery-worker-sso", "celery-beat"}
SERVERS: Final = {"postgres", "redis", "s3", "kafka", "vault"}
# Service → variable, its default, the port inside.
PUBLISHED: Final = {
    "postgres": ("POSTGRES_PORT", 5432, 5432),
    "redis": ("REDIS_PORT", 6379, 6379),
    "s3": ("S3_PORT", 9000, 9000),
    "kafka": ("KAFKA_PORT", 9092, 9092),
    "vault": ("VAULT_PORT", 8201, 8200),
    "flower": ("FLOWER_PORT", 5555, 5555),
}
TEMPLATES: Final = (".env.docker", ".env.docker.minimal")


def load(name: str) -> Any:
    return yaml.safe_load((PROJECT / name).read_text(encoding="utf-8"))


SERVICES: Final[dict[str, Any]] = load("docker-compose.yml")["services"]
EACH: Final = pytest.mark.parametrize("name", SERVICES)


def text_of(*names: str) -> str:
    return "".join((PROJECT / name).read_text(encoding="utf-8") for name in names)


def assigned(template: str) -> set[str]:
    """Every variable that it names, set or as a comment."""
    return set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", text_of(template), re.MULTILINE))


def test_every_service_is_there() -> None:
    assert SERVICES.keys() >= ONCE | PRODUCT | SERVERS | {"flower", "nginx", "vault-unseal"}


@EACH
def test_a_service_can_do_little_harm(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "userns_mode"} & service.keys()
    assert service.get("network_mode") != "host"
    limits = service["deploy"]["resources"]["limits"]
    assert limits.keys() == {"cpus", "memory", "pids"}
    assert service["logging"]["options"]["max-size"]
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))


@EACH
def test_a_service_tells_how_it_is(name: str) -> None:
    service = SERVICES[name]
    if name in ONCE:
        assert service["restart"] == "no"
        return
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"]
    assert service["healthcheck"].keys() >= {"interval", "timeout", "retries", "start_period"}


@EACH
def test_a_service_waits_for_what_it_needs(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        wanted = "service_completed_successfully" if other in ONCE else "service_healthy"
        assert how["condition"] == wanted, other
        # What another profile brings is not waited for where it is not there.
        assert how.get("required", True) or "profiles" in SERVICES[other]
        same = SERVICES[name].get("profiles") == SERVICES[other].get("profiles")
        assert same or "profiles" not in SERVICES[other] or how["required"] is False


@EACH
def test_only_nginx_is_public(name: str) -> None:
    ports = SERVICES[name].get("ports", [])
    if name == "nginx":
        assert ports == ["${HTTPS_PORT:-443}:8443"]
    elif name in PUBLISHED:
        variable, outside, inside = PUBLISHED[name]
        assert ports == [f"127.0.0.1:${{{variable}:-{outside}}}:{inside}"]
    else:
        assert all(port.startswith("127.0.0.1:") for port in ports)


@EACH
def test_an_image_is_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    default = re.fullmatch(r"\$\{[A-Z0-9_]+:-([^}]+)\}", image)
    assert default is not None, image
    _, _, tag = default[1].partition(":")
    assert tag == "local" or re.search(r"\d+\.\d+", tag), image


@EACH
def test_a_service_runs_as_somebody(name: str) -> None:
    """But the file store, whose image has no folder that is anybody else's: root, of no powers."""
    assert (SERVICES[name].get("user", "0") != "0") is (name != "s3")


@EACH
def test_secrets_go_where_they_are_needed(name: str) -> None:
    """The superuser is PostgreSQL's and the bootstrap's; the owner migrates; Flower knows Redis."""
    told = yaml.safe_dump(SERVICES[name].get("environment", {}), width=1000)
    assert ("POSTGRES_PASSWORD" in told) is (name in {"postgres", "bootstrap"})
    assert ("OWNER_PASSWORD" in told) is (name in {"bootstrap", "migrate", "vault-init"})
    jobs = PRODUCT - {"api"} | {"bootstrap", "migrate", "vault-init"}
    assert ("PLATFORM_PASSWORD" in told) is (name in jobs)
    knows_all = PRODUCT | {"migrate", "storage", "topics", "vault-init"}
    assert ("{SECRET_KEY" in told) is (name in knows_all)


ROLES: Final = {
    **dict.fromkeys(PRODUCT, "jobs"),
    **dict.fromkeys(("api", "storage", "topics"), "api"),
    "migrate": "operator",
    "flower": "flower",
}


@pytest.mark.parametrize("name", sorted(ROLES))
def test_with_vault_secrets_are_in_no_variable(name: str) -> None:
    """Every line that names one gives it only where .env says that there is no Vault."""
    service, role = SERVICES[name], ROLES[name]
    told = service["environment"]
    for variable, value in told.items():
        named = re.search(r"_(PASSWORD|KEYS?|KEY_ID|TOKEN)\b|\{MAIL_URL", str(value))
        harmless = variable in {"DEMO_PASSWORD", "VAULT_ROLE_ID"}
        assert named is None or harmless or value.startswith("${USE_VAULT:+")
    assert told["VAULT_ROLE_ID"].endswith(f"-{role}")
    assert told["VAULT_SECRET_ID_FILE"] == f"/vault/{role}/secret-id"
    assert [each for each in service["volumes"] if "vault" in each] == [
        f"vault-{role}:/vault/{role}:ro"
    ]


def test_vault_is_given_every_secret() -> None:
    """Those that are in an entry, but for the key that no container holds."""
    wanted = {name.upper() for names in ENTRIES.values() for name in names} - {"REPORT_SIGNING_KEY"}
    passed_on = load("docker/settings.yml")["services"]["settings"]["environment"]
    assert wanted <= {*SERVICES["vault-init"]["environment"], *passed_on}
    assert set(vault_setup.ROLES) == set(ROLES.values())


def test_every_queue_has_a_worker() -> None:
    queues = SERVICES["celery-worker"]["environment"]["WORKER_QUEUES"]
    default = queues.removeprefix("${WORKER_QUEUES:-").removesuffix("}")
    assert {*default.split(","), "sso"} == set(QUEUES)
    assert f'"${{WORKER_QUEUES:-{default}}}"' in text_of("docker/entrypoint.sh")
    for template in TEMPLATES:
        assert f"\nWORKER_QUEUES={default}\n" in text_of(template)


def test_every_setting_reaches_the_product() -> None:
    passed_on = load("docker/settings.yml")["services"]["settings"]["environment"]
    told = {*passed_on, *SERVICES["celery-worker"]["environment"]}
    wanted = {name.upper() for name in Settings.model_fields} - DECIDED_BY_COMPOSE
    assert wanted <= told, "name it in x-settings of docker-compose.yml: it is a secret"


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_says_what_each_variable_is_and_each_has_an_effect(template: str) -> None:
    files = ["docker-compose.yml", "docker-compose.dev.yml", "docker/settings.yml"]
    known = set(re.findall(r"\$\{([A-Z0-9_]+)", text_of(*files)))
    known |= set(load("docker/settings.yml")["services"]["settings"]["environment"])
    unused = assigned(template) - known - {"COMPOSE_PROFILES"}
    assert not unused
    paragraph: list[str] = []
    for line in text_of(template).splitlines():
        if re.match(r"#?[A-Z][A-Z0-9_]*=", line):
            assert any(each.startswith("# ") and "──" not in each for each in paragraph), line
        elif not line:
            paragraph = []
        paragraph.append(line)


def test_what_is_generated_is_what_the_settings_say() -> None:
    for template in TEMPLATES:
        assert env_template(text_of(template)) == text_of(template), "run scripts/generate_docs.py"
    assert compose_settings() == text_of("docker/settings.yml"), "run scripts/generate_docs.py"


def test_the_templates_name_all_that_the_files_ask_for() -> None:
    asked = set(re.findall(r"\$\{([A-Z0-9_]+)", text_of("docker-compose.yml")))
    full, minimal = map(assigned, TEMPLATES)
    assert asked - full == set()
    assert full - minimal == {
        "KAFKA_CLUSTER_ID",
        "KAFKA_IMAGE",
        "KAFKA_PORT",
        "VAULT_IMAGE",
        "VAULT_PORT",
    }


def test_the_scripts_of_the_image_are_sound() -> None:
    for script in (PROJECT / "docker").rglob("*.sh"):
        assert os.access(script, os.X_OK) or script.name == "start.sh", script
        subprocess.run(["sh", "-n", str(script)], check=True, timeout=20)


def test_development_changes_nothing_else() -> None:
    """The same services; only the API gets a port, on this machine."""
    services = load("docker-compose.dev.yml")["services"]
    assert services.keys() == PRODUCT | {"migrate"}
    assert {name: service["ports"] for name, service in services.items() if "ports" in service} == {
        "api": ["127.0.0.1:${API_PORT:-4999}:4999"]
    }
    assert all(volume.endswith(":ro") for each in services.values() for volume in each["volumes"])


def test_both_locks_agree() -> None:
    """What the image `tools` has beyond the product's is its own; the rest is the same."""

    def pins(name: str) -> set[str]:
        text = text_of(f"backend/{name}")
        return set(re.findall(r"^([a-z0-9-]+(?:\[[a-z0-9,-]+\])?==\S+)", text, re.MULTILINE))

    product, tools = pins("requirements.lock"), pins("requirements-containers.lock")
    assert len(product) > 30
    assert product < tools
    assert {pin.partition("==")[0] for pin in tools - product} >= {"flower", "watchfiles"}
