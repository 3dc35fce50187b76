"""A process's way to Vault: it stays signed in, and what is away holds nobody up."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.settings.vault import VaultAccess
from app.settings.vault_client import VaultAway, VaultClient, VaultForbids
from embedded.vault import VaultServer
from tests.integrations.faults import Fault, FaultProxy
from tests.integrations.vault.rooms import Strongroom
from tests.tenancy.laboratory import until

Connect = Callable[[dict[str, Any]], VaultClient]


@pytest.fixture
def connect() -> Iterator[Connect]:
    clients = []

    def connected(changes: dict[str, Any]) -> VaultClient:
        clients.append(VaultClient(VaultAccess(**changes)))
        return clients[-1]

    yield connected
    for client in clients:
        client.close()


def token(client: VaultClient) -> str:
    return client.ask(lambda vault: str(vault.auth.token.lookup_self()["data"]["accessor"]))


def lives(client: VaultClient) -> bool:
    """Whether it has a token at this moment; asks without signing in."""
    held = client._vault
    return held is not None and held.is_authenticated()


def test_a_token_is_renewed_while_it_can_be(room: Strongroom, connect: Connect) -> None:
    """Nobody asks anything meanwhile."""
    client = connect(room.new_role(token_ttl="1s", token_max_ttl="1h"))
    first = token(client)
    held: Any = client._vault
    look = held.auth.token.lookup_self
    born = look()["data"]["creation_time"]
    until(
        lambda: look()["data"].get("last_renewal_time", 0) > born + 1,
        "a renewal after its first life",
    )
    assert token(client) == first


def test_a_token_that_cannot_be_renewed_is_replaced(room: Strongroom, connect: Connect) -> None:
    client = connect(room.new_role(token_ttl="1s", token_max_ttl="2s"))
    first = token(client)
    until(lambda: client._vault is not None and token(client) != first, "another token")
    assert lives(client)


def test_a_token_that_was_revoked_is_replaced_at_the_next_question(
    room: Strongroom, connect: Connect
) -> None:
    """Of many who notice, one signs in."""
    client = connect(room.new_role())
    first = token(client)
    room.end_token(first)
    with ThreadPoolExecutor(8) as pool:
        after = set(pool.map(lambda _: token(client), range(8)))
    assert len(after) == 1
    assert after != {first}


def test_who_is_let_in_no_more_is_told_so(room: Strongroom, connect: Connect) -> None:
    client = connect(room.new_role())
    room.end_token(token(client))
    room.close_role()
    with pytest.raises(VaultForbids, match="VAULT_ROLE_ID with its secret"):
        client.ping()


def test_what_the_role_may_not_do_is_no_reason_to_sign_in_anew(
    room: Strongroom, connect: Connect
) -> None:
    client = connect(room.new_role())
    first = token(client)
    with pytest.raises(VaultForbids, match="does not allow sys/policies/acl"):
        client.ask(lambda vault: vault.sys.list_acl_policies())
    assert token(client) == first


def test_a_forked_child_signs_in_itself(room: Strongroom, connect: Connect) -> None:
    """And leaves the parent its token, its connection and its thread."""
    parent = connect(room.new_role())
    first = token(parent)
    held: Any = parent._vault
    parent.forget_connections()
    assert token(parent) != first
    assert held.is_authenticated()


def test_a_silent_vault_keeps_one_waiting_and_not_all(
    room: Strongroom, connect: Connect, proxy: FaultProxy
) -> None:
    client = connect(room.new_role() | {"vault_addr": proxy.url, "vault_timeout": 0.5})
    proxy.fault = Fault.SILENT
    with ThreadPoolExecutor(8) as pool:
        refused = [pool.submit(client.ping) for _ in range(8)]
    assert {type(each.exception()) for each in refused} == {VaultAway}
    assert proxy.seen == 1
    proxy.fault = Fault.NONE
    until(lambda: answers(client), "Vault's return")


@pytest.mark.parametrize("passes", [0, 100])
def test_a_vault_that_trickles_is_away(
    room: Strongroom, connect: Connect, proxy: FaultProxy, passes: int
) -> None:
    """Each byte comes in time, and the last one would in minutes; from the first or the body on."""
    client = connect(room.new_role() | {"vault_addr": proxy.url, "vault_timeout": 1.0})
    proxy.fault, proxy.passes = Fault.TRICKLE, passes
    with pytest.raises(VaultAway, match="cannot be reached"):
        client.ping()
    proxy.fault = Fault.NONE
    proxy.hang_up()
    until(lambda: answers(client), "Vault's return")


@pytest.mark.parametrize(
    "fault", [Fault.REFUSE, Fault.ERROR, Fault.RESET_RECEIVED, Fault.CHANGE_RECEIVED]
)
def test_a_vault_that_breaks_is_away(
    room: Strongroom, connect: Connect, proxy: FaultProxy, fault: Fault
) -> None:
    """Signed in or not yet; the last byte of an answer, which is changed, makes it no JSON."""
    changes = room.new_role() | {"vault_addr": proxy.url}
    before, new = connect(changes), connect(changes)
    before.ping()
    proxy.fault, proxy.passes = fault, 10
    proxy.hang_up()
    for client in (before, new):
        with pytest.raises(VaultAway):
            client.ping()


def test_sealed_and_unsealed(
    sealable: VaultServer, sealable_room: Strongroom, connect: Connect
) -> None:
    client = connect(sealable_room.new_role())
    client.ping()
    sealable.root().sys.seal()
    try:
        with pytest.raises(VaultAway, match="sealed"):
            client.ping()
    finally:
        sealable.unseal()
    until(lambda: answers(client), "Vault's return")


def answers(client: VaultClient) -> bool:
    try:
        client.ping()
    except VaultAway:
        return False
    return True
