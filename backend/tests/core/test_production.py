"""What runs on a developer's machine and is refused in production, all of it at once."""

import subprocess
import sys

import pytest

from app.settings import InvalidSettings, Settings, load_settings
from embedded.ports import LOOPBACK, free_port
from tests.paths import BACKEND

PASSWORD = "kX9-vQ2_mZ7pL4"
KEY = "Qh3vX1nS0yZk7mB8pTfWc2RjL9dUeGa4KsIoNtVwYxM="
GOOD = {
    "INSTALLATION_ID": "shop",
    "PUBLIC_URL": "https://api.example.com",
    "SECRET_KEY": "Zt4vKq9wPx2mNs7rLb5cHj8dGf3yTe6u",
    "SECRETS_KEYS": KEY,
    "DATABASE_URL": f"postgresql://shop_app:{PASSWORD}@db/shop",
    "PROVISIONER_URL": f"postgresql://shop_provisioner:{PASSWORD}@db/postgres",
    "REDIS_URL": f"rediss://:{PASSWORD}@redis:6379/0",
    "STORAGE_PATH": "/srv/files",
    "MAIL_URL": f"smtps://shop:{PASSWORD}@mail:465",
    "MAIL_FROM": "shop@example.com",
}
BAD = [
    ("PUBLIC_URL", "http://api.example.com"),
    ("PUBLIC_URL", ""),
    ("FLASK_DEBUG", "1"),
    ("SECRET_KEY", "x" * 32),
    ("SECRET_KEY", "abcabcabc" * 5),
    ("SECRET_KEY", "change-me-Zt4vKq9wPx2mNs7rLb5cHj8"),
    ("SECRET_KEY", "my-very-own-SECRET-key-for-tenantry"),
    ("SECRETS_KEYS", "A" * 43 + "="),
    ("SECRETS_KEYS", f"{KEY},{'A' * 43}="),
    ("METRICS_TOKEN", "1" * 40),
    ("DATABASE_URL", "postgresql://shop_app:postgres@db/shop"),
    ("DATABASE_URL", "postgresql://shop_app:short-1@db/shop"),
    ("DATABASE_OWNER_URL", "postgresql://shop_main_owner:password1234@db/shop"),
    ("DATABASE_PLATFORM_URL", "postgresql://shop_platform:aaaaaaaaaaaaaaaa@db/shop"),
    ("PROVISIONER_URL", "postgresql://shop_provisioner:@db/postgres"),
    ("REDIS_URL", "redis://:default-redis@redis:6379/0"),
    ("MAIL_URL", "console:"),
    ("MAIL_URL", ""),
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_the_control() -> None:
    """Production is what nobody asks for; a server may know its clients without a password."""
    assert load_settings().environment == "production"
    assert load_settings().cors_origins == ()


def test_without_passwords(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DATABASE_URL", "postgresql://shop_app@/shop?host=/run/postgresql")
    environment.setenv("REDIS_URL", "redis://redis:6379/0")
    load_settings()


@pytest.mark.parametrize(("name", "value"), BAD)
def test_what_is_refused(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    with pytest.raises(InvalidSettings) as raised:
        load_settings()
    assert f"  {name}: " in str(raised.value)
    assert not value or value not in str(raised.value)


@pytest.mark.parametrize("elsewhere", ["development", "testing"])
def test_it_is_allowed_elsewhere(environment: pytest.MonkeyPatch, elsewhere: str) -> None:
    environment.setenv("ENVIRONMENT", elsewhere)
    for name, value in BAD:
        environment.setenv(name, value)
    load_settings()


def test_all_faults_at_once(environment: pytest.MonkeyPatch) -> None:
    for name, value in BAD:
        environment.setenv(name, value)
    environment.delenv("STORAGE_PATH")
    with pytest.raises(InvalidSettings) as raised:
        load_settings()
    told = str(raised.value).splitlines()[1:]
    assert {line.partition(":")[0].strip() for line in told} == (
        {name for name, _ in BAD} | {"STORAGE_PATH"}
    )


def test_no_server_starts(environment: pytest.MonkeyPatch) -> None:
    """Gunicorn ends, too, and does not start one worker after the other."""
    environment.setenv("FLASK_DEBUG", "1")
    environment.setenv("SECRET_KEY", "x" * 32)
    bind = f"{LOOPBACK}:{free_port()}"
    started = subprocess.run(
        [sys.executable, "-m", "gunicorn", "wsgi:app", "--bind", bind, "--no-control-socket"],
        cwd=BACKEND,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert started.returncode == 3, started.stderr
    for name in ("FLASK_DEBUG", "SECRET_KEY"):
        assert f"  {name}: " in started.stderr
    assert "Traceback" not in started.stderr


@pytest.mark.parametrize("unknown", ["prod", "Production ", "staging"])
def test_an_environment_that_nobody_knows(environment: pytest.MonkeyPatch, unknown: str) -> None:
    environment.setenv("ENVIRONMENT", unknown)
    with pytest.raises(InvalidSettings, match="ENVIRONMENT"):
        load_settings()


def test_psycopg_without_c(environment: pytest.MonkeyPatch) -> None:
    code = "from app.settings import load_settings; print(load_settings().environment)"

    def start(implementation: str) -> "subprocess.CompletedProcess[str]":
        environment.setenv("PSYCOPG_IMPL", implementation)
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=BACKEND,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert start("binary").stdout == "production\n"
    pure = start("python")
    if "no pq wrapper" not in pure.stderr:  # without a libpq there is no pure psycopg either
        assert pure.returncode == 1
        assert "  ENVIRONMENT: " in pure.stderr


@pytest.mark.parametrize(
    "origins",
    ["https://app.example.com/", "app.example.com", "*", "null", "https://*.example.com/x",
     "https://app.example.com,*", "HTTPS://app.example.com"],
)  # fmt: skip
def test_what_is_no_origin(environment: pytest.MonkeyPatch, origins: str) -> None:
    environment.setenv("CORS_ORIGINS", origins)
    with pytest.raises(InvalidSettings, match="CORS_ORIGINS"):
        load_settings()


def test_origins(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CORS_ORIGINS", "https://a.example.com, https://b.example.com:8443")
    assert load_settings().cors_origins == ("https://a.example.com", "https://b.example.com:8443")
    environment.delenv("CORS_ORIGINS")
    environment.setenv("ENVIRONMENT", "development")
    assert load_settings().cors_origins == ("http://localhost:3000",)
