"""Dividing tenants into waves: each tenant in exactly one, the canaries first."""

import pytest

from app.core import ids
from app.domains.fleet.errors import BadOrder
from app.domains.fleet.service.waves import divide, read_waves
from app.domains.tenants.service.ledger import FleetEntry
from app.tenancy.locations import TenantLocation


def tenant(number: int, *tags: str) -> FleetEntry:
    tenant_id = ids.new_id()
    location = TenantLocation(
        tenant_id=tenant_id, server="default", database=f"d{number}", sealed_credentials=""
    )
    return FleetEntry(tenant_id, f"t{number}", "active", location, "0001", tags)


FLEET = [tenant(number, *(["beta"] if number in {3, 7} else [])) for number in range(40)]
SIZES = {f"d{number}": 1000 - number for number in range(40)}


def sizes_of(text: str, *canaries: str) -> list[tuple[str, int]]:
    waves = divide(FLEET, read_waves(text), canaries=canaries, sizes=SIZES)
    everybody = [each.tenant_id for wave in waves for each in wave.entries]
    assert sorted(everybody) == sorted(each.tenant_id for each in FLEET)
    return [(wave.name, len(wave.entries)) for wave in waves]


def canaries(*chosen: str) -> list[str]:
    waves = divide(FLEET, read_waves("canary"), canaries=chosen, sizes=SIZES)
    return [each.slug for wave in waves if wave.name == "canary" for each in wave.entries]


def test_waves_in_their_order() -> None:
    assert sizes_of("rest") == sizes_of("") == [("rest", 40)]
    assert sizes_of("canary,5%,rest") == [("canary", 1), ("5%", 2), ("rest", 37)]
    assert sizes_of("canary,10,50%", "t1", "t2") == [
        ("canary", 2),
        ("10", 10),
        ("50%", 20),
        ("rest", 8),
    ]
    assert sizes_of("1%") == [("1%", 1), ("rest", 39)]
    assert sizes_of("100%,10") == [("100%", 40)]


def test_canaries_by_name_tag_and_size() -> None:
    assert canaries() == ["t39"]
    assert canaries("t5", str(FLEET[6].tenant_id), "t5") == ["t5", "t6"]
    assert canaries("tag:beta") == ["t3", "t7"]
    assert canaries("largest:2", "smallest:1") == ["t0", "t1", "t39"]
    assert canaries("somebody who needs nothing") == []


@pytest.mark.parametrize(
    "text", ["canaries", "5 %", "0%", "101%", "-1", "rest,5%", "canary,canary"]
)
def test_what_is_no_wave_is_refused(text: str) -> None:
    with pytest.raises(BadOrder):
        read_waves(text)


def test_a_choice_by_size_names_a_number() -> None:
    with pytest.raises(BadOrder):
        canaries("largest:many")
