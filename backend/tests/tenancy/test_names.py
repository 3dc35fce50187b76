"""Names of roles and databases: any slug fits, none meets another, and each leads back."""

import random
import string
from uuid import UUID

import pytest

from app.core import ids
from app.tenancy.names import (
    MAXIMUM_BYTES,
    Installation,
    lock_key,
    read_comment,
    tenant_database_name,
    tenant_id_of,
)

OURS = Installation("ours")
TENANT = UUID("01a1fc54-9d5c-7287-90ef-e4f5e5861ef5")

SLUGS = (
    "a",
    "acme",
    "acme-and-sons",
    "a" * 63,
    "-".join("ab" * 10),
    "a" * 21 + "-" + "b" * 40,  # cut just after the hyphen
    "0" * 32,
    TENANT.hex,
    "ÄÖÜ Gmbh",
    "天" * 63,
    "UPPER_case",
    'x"; DROP DATABASE postgres; --',
    "a__b",
    "_",
    "-",
    "",
)


def random_slugs() -> list[str]:
    dice = random.Random("slugs")
    alphabet = string.ascii_lowercase + string.digits + "-"
    return ["".join(dice.choices(alphabet, k=dice.randint(1, 63))) for _ in range(500)]


@pytest.mark.parametrize("opaque", [False, True])
def test_every_name_fits_is_plain_and_leads_back(opaque: bool) -> None:  # noqa: FBT001
    for slug in (*SLUGS, *random_slugs()):
        name = tenant_database_name(slug, TENANT, opaque=opaque)
        assert len(name.encode()) <= MAXIMUM_BYTES
        assert set(name) <= set(string.ascii_lowercase + string.digits + "_")
        assert tenant_id_of(name) == TENANT


def test_names_are_unique_even_for_one_slug() -> None:
    slugs = [*SLUGS, *random_slugs(), *["a" * 63] * 500]
    names = {tenant_database_name(slug, ids.new_id()) for slug in slugs}
    assert len(names) == len(slugs)


def test_the_seeds_pattern() -> None:
    assert tenant_database_name("acme-and-sons", TENANT) == f"tenant_acme_and_sons_{TENANT.hex}"


def test_an_opaque_name_tells_nothing() -> None:
    assert tenant_database_name("acme", TENANT, opaque=True) == f"tenant_{TENANT.hex}"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "postgres",
        "tenant_",
        "tenant_acme",
        f"tenant_acme_{TENANT.hex[:-1]}",
        f"tenant_acme_{TENANT.hex}0"[:-1] + "g",
        f"tenant_acme_{TENANT}",
        f"tenant_Acme_{TENANT.hex}",
        f"tenant_acme_{TENANT.hex.upper()}",
        f"tenant_acme_{TENANT.hex}\n",
        f" tenant_acme_{TENANT.hex}",
        f"x_tenant_acme_{TENANT.hex}",
        f"tenant_acme_{TENANT.hex}; DROP",
    ],
)
def test_what_is_no_tenants_name(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a tenant database"):
        tenant_id_of(name)


@pytest.mark.parametrize(
    "comment",
    [None, "", "null", "[]", "1", '"x"', "{", "a comment of somebody's", '{"tenantry": "theirs"}'],
)
def test_a_comment_that_is_not_ours(comment: str | None) -> None:
    assert not OURS.owns(comment, "tenant")
    assert isinstance(read_comment(comment), dict)


def test_a_mark_is_of_one_installation_and_one_kind() -> None:
    mark = OURS.comment("tenant", tenant=str(TENANT))
    assert OURS.owns(mark, "tenant")
    assert not OURS.owns(mark, "template")
    assert not Installation("our").owns(mark, "tenant")


def test_role_and_template_names_fit_for_the_longest_installation() -> None:
    longest = Installation("a" * 16)
    names = {
        longest.main_owner,
        longest.app,
        longest.platform,
        longest.provisioner,
        longest.schema_owner,
        longest.tenant_rw,
        longest.base_template,
        longest.template("0001"),
    }
    assert len(names) == 8
    assert all(len(name) <= MAXIMUM_BYTES for name in names)


def test_lock_keys_are_bigints_and_differ() -> None:
    keys = {lock_key("tenant", str(number)) for number in range(1000)}
    assert len(keys) == 1000
    assert all(-(2**63) <= key < 2**63 for key in keys)
    assert any(key < 0 for key in keys)
