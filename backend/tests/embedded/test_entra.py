"""The stand-in for Entra ID, as `SSO_DEMO=1 make run` starts it."""

from contextlib import ExitStack
from pathlib import Path

import requests

from embedded.entra import demo
from embedded.entra.running import DemoDirectory
from tests.paths import BACKEND


def test_it_answers_programs_by_tls_and_people_without(tmp_path: Path) -> None:
    """A browser knows nothing of its certificates, and the product of no other way than TLS."""
    directory = DemoDirectory(tmp_path / "entra", api_port=4999)
    with ExitStack() as stack:
        child = directory.start(stack, BACKEND, tmp_path)
        told = directory.environment
        where = f"{told['AZURE_AUTHORITY_URL']}/{demo.DIRECTORY_ID}"
        found = requests.get(
            f"{where}/v2.0/.well-known/openid-configuration",
            verify=told["AZURE_CA_FILE"],
            timeout=30,
        ).json()
        assert found["issuer"] == f"{where}/v2.0"
        page = told["SSO_DEMO_PAGE"]
        assert found["authorization_endpoint"].startswith(f"{page}/{demo.DIRECTORY_ID}/")
        query = {
            "client_id": str(demo.CLIENT_ID),
            "redirect_uri": "http://localhost:4999/api/auth/sso/azure/callback",
        }
        asked = requests.get(found["authorization_endpoint"], params=query, timeout=30)
        assert all(name in asked.text for name in (demo.PEOPLE | demo.GUESTS).values())
        elsewhere = query | {"redirect_uri": "http://evil.example/"}
        assert not requests.get(found["authorization_endpoint"], params=elsewhere, timeout=30).ok
        assert page in told["CORS_ORIGINS"]
        assert "Signing in with a directory" in requests.get(page, timeout=30).text
    assert not child.alive
