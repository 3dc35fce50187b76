"""Roles that no rule of the database binds are refused in production."""

import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from app.settings import Environment, InvalidSettings, Settings
from app.tenancy.startup import check_servers
from tests.tenancy.laboratory import Laboratory

URLS = ("database_url", "database_owner_url", "database_platform_url", "provisioner_url")


@pytest.fixture
def production(house: Laboratory) -> Settings:
    small = {"process_count": 1, "main_pool_size": 1}
    return house.settings.model_copy(update={"environment": Environment.PRODUCTION, **small})


def faults(house: Laboratory, settings: Settings) -> str:
    with pytest.raises(InvalidSettings) as raised:
        check_servers(house.manager.server, settings)
    return str(raised.value)


def test_the_roles_that_we_make_are_bound(house: Laboratory, production: Settings) -> None:
    check_servers(house.manager.server, production)


@pytest.mark.parametrize("name", URLS)
def test_a_superuser(house: Laboratory, production: Settings, admin_url: str, name: str) -> None:
    told = faults(house, production.model_copy(update={name: SecretStr(admin_url)}))
    assert f"  {name.upper()}: " in told
    assert admin_url not in told


def test_who_can_become_one_that_is_not_bound(
    house: Laboratory, production: Settings, admin_url: str
) -> None:
    role = conninfo_to_dict(production.database_url.get_secret_value())["user"]
    with house.as_superuser() as superuser:
        superuser.execute(f'ALTER ROLE "{role}" BYPASSRLS'.encode())
        try:
            assert f"DATABASE_URL: its role can act as {role}," in faults(house, production)
        finally:
            superuser.execute(f'ALTER ROLE "{role}" NOBYPASSRLS'.encode())
        superuser.execute(f'CREATE ROLE "{role}_x" BYPASSRLS'.encode())
        superuser.execute(f'GRANT "{role}_x" TO "{role}"'.encode())
        try:
            assert f"can act as {role}_x," in faults(house, production)
        finally:
            superuser.execute(f'DROP ROLE "{role}_x"'.encode())
    check_servers(house.manager.server, production)


def test_all_faults_at_once(house: Laboratory, production: Settings, admin_url: str) -> None:
    changes = {name: SecretStr(admin_url) for name in URLS} | {"process_count": 900}
    told = faults(house, production.model_copy(update=changes))
    assert len(told.splitlines()) == 1 + len(URLS) + 1


def test_elsewhere_nobody_asks(house: Laboratory, production: Settings, admin_url: str) -> None:
    changes = {"environment": Environment.DEVELOPMENT, "database_url": SecretStr(admin_url)}
    check_servers(house.manager.server, production.model_copy(update=changes))
