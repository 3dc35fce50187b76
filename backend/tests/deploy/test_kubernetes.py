"""deploy/kubernetes against the published schemas, and against the rules that we keep."""

import secrets
from collections.abc import Iterator
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml
from cryptography.fernet import Fernet

from app.settings import Environment, Settings, load_settings
from tests.paths import PROJECT

FOLDER: Final = PROJECT / "deploy" / "kubernetes"
OLDEST: Final = "1.31"
# What the entrypoint reads beside the settings.
OF_THE_IMAGE: Final = {"WAIT_SECONDS", "WORKER_CONCURRENCY"}
# What connects in one pod of each: the API's workers; Celery's children and their parent.
PROCESSES: Final = {
    "api": 2,
    "worker": 1,
    "relay": 1,
    "celery-worker": 3,
    "celery-worker-sso": 2,
    "celery-beat": 1,
}
ROLES: Final = PROCESSES.keys()


def documents() -> Iterator[Any]:
    for name in yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]:
        yield from yaml.safe_load_all((FOLDER / name).read_text())


ALL: Final = {f"{each['kind']} {each['metadata']['name']}": each for each in documents()}
PODS: Final = {
    name.partition(" ")[2]: each["spec"]["template"]["spec"]
    for name, each in ALL.items()
    if each["kind"] in {"Deployment", "Job"}
}


@pytest.mark.parametrize("name", ALL)
def test_it_is_what_the_schema_says(name: str) -> None:
    kubernetes_validate.validate(ALL[name], OLDEST, strict=True)


def test_the_validator_refuses() -> None:
    wrong = {**ALL["Service api"], "spec": {"ports": [{"prt": 1}]}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, OLDEST, strict=True)


@pytest.mark.parametrize("name", PODS)
def test_a_pod_can_do_little_harm(name: str) -> None:
    pod = PODS[name]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


def test_every_role_is_there_and_is_looked_at() -> None:
    assert PODS.keys() == ROLES | {"migrate"}
    for name in ROLES:
        (container,) = PODS[name]["containers"]
        assert container["args"] == [name]
        assert {"livenessProbe", "startupProbe"} <= container.keys()
    assert PODS["api"]["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/health/ready"


def test_there_is_one_scheduler() -> None:
    beat = ALL["Deployment celery-beat"]["spec"]
    assert (beat["replicas"], beat["strategy"]) == (1, {"type": "Recreate"})


def test_secrets_go_where_they_are_needed() -> None:
    for name, pod in PODS.items():
        known = {
            source["secretRef"]["name"]
            for source in pod["containers"][0]["envFrom"]
            if "secretRef" in source
        }
        wanted = {"tenantry-app"}
        wanted |= set() if name == "api" else {"tenantry-jobs"}
        wanted |= {"tenantry-owner"} if name == "migrate" else set()
        assert known == wanted, name


def test_what_selects_finds_something() -> None:
    labels = [
        each["spec"]["template"]["metadata"]["labels"]
        for each in ALL.values()
        if "template" in each.get("spec", {})
    ]
    for name, each in ALL.items():
        spec = each.get("spec", {})
        selector = spec.get("podSelector", spec.get("selector", {}))
        wanted = selector.get("matchLabels", selector if each["kind"] == "Service" else {})
        if each["kind"] in {"Service", "NetworkPolicy", "PodDisruptionBudget", "Deployment"}:
            assert any(wanted.items() <= found.items() for found in labels), name
    target = ALL["HorizontalPodAutoscaler api"]["spec"]["scaleTargetRef"]["name"]
    assert "replicas" not in ALL[f"Deployment {target}"]["spec"], "the autoscaler decides"


def test_a_process_would_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the settings of the base, and secrets as strong as production wants them."""
    told = ALL["ConfigMap tenantry-settings"]["data"]
    names = {name.upper() for name in Settings.model_fields}
    assert set(told) <= names | OF_THE_IMAGE
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, value in (told | made_up_secrets()).items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.environment == Environment.PRODUCTION
    assert settings.storage_backend == "s3"


def made_up_secrets() -> dict[str, str]:
    def url(role: str, database: str) -> str:
        password = secrets.token_urlsafe(32)
        return f"postgresql://tenantry_{role}:{password}@db.example.com/{database}"

    return {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "SECRETS_KEYS": Fernet.generate_key().decode(),
        "DATABASE_URL": url("app", "tenantry"),
        "PROVISIONER_URL": url("provisioner", "postgres"),
        "REDIS_URL": f"rediss://:{secrets.token_urlsafe(32)}@redis.example.com:6380/0",
        "S3_ACCESS_KEY_ID": secrets.token_hex(10),
        "S3_SECRET_ACCESS_KEY": secrets.token_urlsafe(32),
        "MAIL_URL": f"smtp://tenantry:{secrets.token_urlsafe(16)}@mail.example.com:587",
    }


def test_connections_are_counted_for_the_most_pods() -> None:
    """One API pod more while a release rolls out."""
    most = ALL["HorizontalPodAutoscaler api"]["spec"]["maxReplicas"] + 1
    needed = most * PROCESSES["api"] + sum(
        ALL[f"Deployment {name}"]["spec"]["replicas"] * PROCESSES[name] for name in ROLES - {"api"}
    )
    assert needed <= int(ALL["ConfigMap tenantry-settings"]["data"]["PROCESS_COUNT"])
