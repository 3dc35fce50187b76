"""Settings: every fault is told at once, and nothing secret has a default."""

from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from app.settings import InvalidSettings, Settings, load_settings
from tests.core.live import environment_of

GOOD = {
    "ENVIRONMENT": "testing",
    "INSTALLATION_ID": "tenantry",
    "SECRET_KEY": "x" * 32,
    "SECRETS_KEYS": Fernet.generate_key().decode(),
    "DATABASE_URL": "postgresql://app:secret@localhost/main",
    "PROVISIONER_URL": "postgresql://provisioner:secret@localhost/postgres",
    "REDIS_URL": "redis://:secret@localhost:6379/0",
    "STORAGE_PATH": "/srv/files",
}
REQUIRED = set(GOOD) - {"ENVIRONMENT"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Holds what is good, and nothing of the machine's own."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def faults() -> str:
    with pytest.raises(InvalidSettings) as raised:
        load_settings()
    return str(raised.value)


def test_the_control_is_usable() -> None:
    settings = load_settings()
    assert settings.secret_key.get_secret_value() == GOOD["SECRET_KEY"]
    assert settings.storage_path == Path("/srv/files")


def test_what_is_cheap_and_short_under_testing_alone(environment: pytest.MonkeyPatch) -> None:
    def of(name: str) -> tuple[int, ...]:
        environment.setenv("ENVIRONMENT", name)
        now = load_settings()
        hashing = (now.password_hash_memory_kib, now.password_hash_passes)
        return now.access_token_seconds, now.session_seconds, *hashing

    assert of("testing") == (60, 300, 32, 1)
    assert of("development") == (900, 7 * 24 * 3600, 65_536, 3)
    environment.setenv("ACCESS_TOKEN_SECONDS", "900")
    assert of("testing") == (900, 300, 32, 1)


def test_all_that_is_missing_is_told_at_once(environment: pytest.MonkeyPatch) -> None:
    """Nothing falls back to a secret or a server that nobody chose."""
    for name in REQUIRED:
        environment.delenv(name)
    told = faults()
    assert {name for name in GOOD if f"  {name}: " in told} == REQUIRED
    assert len(told.splitlines()) == 1 + len(REQUIRED)


def test_faults_of_all_kinds_are_told_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("INSTALLATION_ID", "No-Good")
    environment.setenv("SECRET_KEY", "short")
    environment.setenv("CONNECT_TIMEOUT", "soon")
    environment.delenv("REDIS_URL")
    told = faults()
    for name in ("INSTALLATION_ID", "SECRET_KEY", "CONNECT_TIMEOUT", "REDIS_URL"):
        assert f"  {name}: " in told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INSTALLATION_ID", "a"),
        ("INSTALLATION_ID", "1abc"),
        ("INSTALLATION_ID", "tenantry\n"),
        ("INSTALLATION_ID", "x" * 17),
        ("INSTALLATION_ID", "ten_antry"),
        ("SECRET_KEY", "x" * 31),
        ("SECRETS_KEYS", "not a key"),
        ("SECRETS_KEYS", ","),
        ("SECRETS_KEYS", "A" * 43 + "=,short"),
        ("DATABASE_URL", "localhost"),
        ("DATABASE_URL", "mysql://localhost/main"),
        ("DATABASE_URL", "sqlite:///main.db"),
        ("DATABASE_OWNER_URL", "host=localhost dbname=main"),
        ("DATABASE_PLATFORM_URL", "nonsense"),
        ("PROVISIONER_URL", "https://localhost"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "memory://"),
        ("REDIS_URL", "sentinel://localhost:26379"),
        ("REDIS_TIMEOUT_SECONDS", "0"),
        ("TRUSTED_PROXIES", "proxy.example.com"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "10.0.0.0/8 192.0.2.1"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("LOGIN_ATTEMPTS_PER_ADDRESS", "0"),
        ("LOGIN_WINDOW_SECONDS", "15m"),
        ("SIGNING_KEY_REFRESH_SECONDS", "0"),
        ("PUBLIC_URL", "localhost:4999"),
        ("PUBLIC_URL", "ftp://localhost"),
        ("TENANT_CONNECTION_BUDGET", "0"),
        ("TENANT_CONNECTIONS_PER_TENANT", "-1"),
        ("TENANT_CONNECTION_WAIT", "0"),
        ("TENANT_CONNECTION_WAIT", "nan"),
        ("PROCESS_COUNT", "many"),
        ("OPAQUE_DATABASE_NAMES", "perhaps"),
        ("MAX_UPLOAD_BYTES", "5 GB"),
        ("ACCESS_TOKEN_SECONDS", "1"),
        ("REFRESH_GRACE_SECONDS", "3600"),
        ("CONNECT_TIMEOUT", "0"),
        ("TENANT_BASE_DOMAIN", "localhost"),
        ("TENANT_BASE_DOMAIN", ".example.com"),
        ("TENANT_BASE_DOMAIN", "Example.com"),
        ("TENANT_BASE_DOMAIN", "https://example.com"),
        ("TENANT_BASE_DOMAIN", "example.com\n"),
        ("TENANT_CREATION_WAIT", "-1"),
        ("TENANT_GRACE_DAYS", "-1"),
        ("MAX_TENANTS", "-1"),
        ("DNS_SERVERS", "ns.example.com"),
        ("DNS_SERVERS", "192.0.2.1,999.0.2.1"),
        ("DNS_SERVERS", "[::1"),
        ("DNS_TIMEOUT", "0"),
        ("PUBLIC_SUFFIX_LIST", "/nowhere/list.dat"),
        ("WEB_URL", "localhost:4999"),
        ("MAIL_URL", "sendmail:"),
        ("MAIL_URL", "console://host"),
        ("MAIL_URL", "smtp:"),
        ("MAIL_URL", "smtp://host:none"),
        ("MAIL_URL", "smtp://host:99999"),
        ("MAIL_URL", "smtp://host?starttls=perhaps"),
        ("MAIL_URL", "smtps://host?starttls=off"),
        ("MAIL_FROM", "nobody"),
        ("MAIL_FROM", "Acme <a@acme.example>\r\nBcc: b@acme.example"),
        ("MAIL_FROM", "a@acme.example, b@acme.example"),
        ("REGISTRATION_ENABLED", "perhaps"),
        ("PASSWORD_RESET_SECONDS", "0"),
        ("STORAGE_BACKEND", "tape"),
        ("S3_TIMEOUT", "0"),
        ("VERIFY_AT_ONCE_BYTES", "-1"),
    ],
)
def test_a_value_that_cannot_be(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    assert f"  {name}: " in faults()


S3 = {
    "STORAGE_BACKEND": "s3",
    "S3_ENDPOINT_URL": "http://s3.internal:9000",
    "S3_PUBLIC_URL": "https://files.example.com/",
    "S3_BUCKET": "tenantry-files",
    "S3_REGION": "eu-central-1",
    "S3_ACCESS_KEY_ID": "access",
    "S3_SECRET_ACCESS_KEY": "hunter2",
}


@pytest.fixture
def with_s3(environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in S3.items():
        environment.setenv(name, value)
    environment.delenv("STORAGE_PATH")
    return environment


def test_a_bucket_in_place_of_the_folder(with_s3: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    assert settings.s3_public_url == "https://files.example.com"
    assert settings.s3_secret_access_key.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings)
    with_s3.delenv("S3_PUBLIC_URL")
    assert load_settings().s3_public_url == ""


def test_all_that_the_bucket_needs_is_told_at_once(with_s3: pytest.MonkeyPatch) -> None:
    needed = S3.keys() - {"STORAGE_BACKEND", "S3_PUBLIC_URL"}
    for name in needed:
        with_s3.setenv(name, "")
    told = faults()
    assert {name for name in needed if f"  {name}: " in told} == needed
    assert len(told.splitlines()) == 1 + len(needed)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("S3_ENDPOINT_URL", "s3.internal:9000"),
        ("S3_ENDPOINT_URL", "https://"),
        ("S3_ENDPOINT_URL", "https://proxy.example.com/s3"),
        ("S3_PUBLIC_URL", "ftp://files.example.com"),
        ("S3_PUBLIC_URL", "https://example.com/files/"),
        ("S3_BUCKET", "My_Bucket"),
        ("S3_BUCKET", "ab"),
        ("S3_BUCKET", "tenantry/files"),
    ],
)
def test_a_bucket_that_cannot_be(with_s3: pytest.MonkeyPatch, name: str, value: str) -> None:
    with_s3.setenv(name, value)
    assert f"  {name}: " in faults()


def test_connections_that_the_role_does_not_allow(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PROCESS_COUNT", "11")
    assert "TENANT_ROLE_CONNECTION_LIMIT" in faults()


def test_the_api_s_processes_decide_how_many_connect(environment: pytest.MonkeyPatch) -> None:
    assert load_settings().process_count == 4
    environment.setenv("API_WORKERS", "5")
    assert load_settings().process_count == 7
    environment.setenv("PROCESSES_BESIDE", "3")
    assert load_settings().process_count == 8
    environment.setenv("PROCESS_COUNT", "4")
    assert "  PROCESS_COUNT: " in faults()
    environment.setenv("PROCESS_COUNT", "9")
    assert load_settings().process_count == 9


@pytest.mark.parametrize("url", ["smtp://user:p%40ss@mail.example:587", "smtps://mail.example"])
def test_mail_that_leaves_has_a_sender(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("MAIL_URL", url)
    assert "MAIL_FROM" in faults()
    environment.setenv("MAIL_FROM", "Acme Support <support@acme.example>")
    assert load_settings().mail_url.get_secret_value() == url


def test_links_of_mails_lead_to_the_api_unless_told_otherwise(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("PUBLIC_URL", "https://api.example.com/")
    assert load_settings().link_origin == "https://api.example.com"
    environment.setenv("WEB_URL", "https://app.example.com/")
    assert load_settings().link_origin == "https://app.example.com"


def test_nobody_registers_unless_allowed() -> None:
    assert load_settings().registration_enabled is False


def test_a_fault_does_not_show_the_secret(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MAIL_URL", "smtp://user:hunter2@host:none")
    for name in ("SECRET_KEY", "SECRETS_KEYS", "DATABASE_URL", "PROVISIONER_URL", "REDIS_URL"):
        environment.setenv(name, "hunter2")
    environment.setenv("CONNECT_TIMEOUT", "soon")
    assert "hunter2" not in faults()


def test_settings_do_not_show_their_secrets() -> None:
    shown = repr(load_settings())
    for name in ("SECRET_KEY", "SECRETS_KEYS", "DATABASE_URL", "PROVISIONER_URL", "REDIS_URL"):
        assert GOOD[name] not in shown


def test_an_empty_value_is_a_missing_one(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SECRET_KEY", "")
    environment.setenv("DATABASE_OWNER_URL", "")
    assert "  SECRET_KEY: Field required" in faults()


def test_several_keys(environment: pytest.MonkeyPatch) -> None:
    keys = [Fernet.generate_key().decode() for _ in range(2)]
    environment.setenv("SECRETS_KEYS", ",".join(keys))
    loaded = [key.get_secret_value() for key in load_settings().secrets_keys]
    assert loaded == keys


def test_several_networks(environment: pytest.MonkeyPatch) -> None:
    assert load_settings().trusted_proxies == ()
    environment.setenv("TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.1,2001:db8::/32,")
    told = [str(network) for network in load_settings().trusted_proxies]
    assert told == ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]


def test_no_group_undoes_a_rule_of_another() -> None:
    """A validator replaces one of the same name in a base, silently."""
    rules = [name for group in Settings.__bases__ for name in vars(group) if name.startswith("_")]
    own = [name for name in rules if not name.startswith("__") and name != "_abc_impl"]
    assert len(set(own)) == len(own), sorted(own)


def test_settings_do_not_change() -> None:
    with pytest.raises(Exception, match="frozen"):
        load_settings().secret_key = "another"  # type: ignore[misc, assignment]


def test_a_slash_at_the_end_of_the_url_is_dropped(environment: pytest.MonkeyPatch) -> None:
    """The URL is the issuer of tokens and the beginning of links."""
    environment.setenv("PUBLIC_URL", "https://api.example.com/")
    assert load_settings().public_url == "https://api.example.com"


def test_what_the_environment_says_comes_back(environment: pytest.MonkeyPatch) -> None:
    first = load_settings()
    for name, value in environment_of(first).items():
        if name.lower() in Settings.model_fields:
            environment.setenv(name, value)
    assert load_settings() == first
