"""Vault, set up for an installation of this worker's own."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import hvac
import pytest
from hvac.exceptions import InvalidRequest

from app.core import ids
from embedded import vault as vault_server
from embedded.entra.certificates import make_certificates
from embedded.nginx import NginxServer
from embedded.real import nginx_program, vault_program
from embedded.vault import VaultServer
from tests.integrations.faults import FaultProxy, faulty
from tests.integrations.vault.rooms import SECRETS, Strongroom

_SKIPPED = "needs Vault: scripts/services.py run"


@pytest.fixture(scope="session")
def room(server_urls: dict[str, str]) -> Strongroom:
    """On the run's server, in mounts of this worker's own; nobody seals it."""
    if not server_urls.get("vault"):
        pytest.skip(_SKIPPED)
    return _strongroom(vault_server.client(server_urls["vault"]), SECRETS)


@pytest.fixture(scope="session")
def sealable(
    server_urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VaultServer]:
    """A server of this worker's own, which each test leaves unsealed."""
    binary = vault_program()
    if not server_urls.get("vault") or binary is None:
        pytest.skip(_SKIPPED)
    with VaultServer(tmp_path_factory.mktemp("vault"), binary=binary) as server:
        yield server


@pytest.fixture
def untouched(server_urls: dict[str, str], tmp_path: Path) -> Iterator[VaultServer]:
    """A server that nobody has initialised."""
    binary = vault_program()
    if not server_urls.get("vault") or binary is None:
        pytest.skip(_SKIPPED)
    with VaultServer(tmp_path / "server", binary=binary, untouched=True) as server:
        yield server


@pytest.fixture
def untouched_by_tls(untouched: VaultServer, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The same over TLS, which nginx speaks for it; the authority that its certificate is of."""
    program = nginx_program()
    assert program is not None, "nginx is required: scripts/services.py install s3"
    folder = tmp_path / "tls"
    folder.mkdir()
    authority, certificate = make_certificates(folder)
    server = (
        f"server {{ listen {{address}} ssl; ssl_certificate {certificate};"
        f" ssl_certificate_key {certificate};"
        f" location / {{ proxy_pass {untouched.address}; }} }}"
    )
    with NginxServer(folder, binary=program, servers=server) as front:
        yield front.url.replace("http://", "https://"), authority


@pytest.fixture(scope="session")
def sealable_room(sealable: VaultServer) -> Strongroom:
    """Seals, and has no settings of servers."""
    return _strongroom(sealable.root(), {})


@pytest.fixture
def proxy(room: Strongroom) -> Iterator[FaultProxy]:
    """Between a client and the run's server."""
    parts = urlsplit(room.access.vault_addr)
    with faulty(parts.hostname or "", parts.port or 0) as between:
        yield between


def _strongroom(root: hvac.Client, given: Mapping[str, str]) -> Strongroom:
    with suppress(InvalidRequest):  # another worker was first
        root.sys.enable_auth_method("approle")
    return Strongroom(root, f"t{ids.new_id().hex}", given)
