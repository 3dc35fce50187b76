"""A tenant's directory: given, tested, switched on; and what it says of roles."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from flask import Flask

from app.core import clock
from app.core.db import main_session, platform_session
from app.domains.sso.models import TenantSSOConfig
from app.domains.tenants.service import members
from tests.cast import new_person
from tests.domains.sso.browsers import Browser, Company, bearer
from tests.domains.sso.conftest import NewCompany, activate


def test_a_directory_is_switched_on_once_somebody_has_signed_in_by_it(
    new_company: NewCompany,
) -> None:
    acme = new_company(active=False)
    assert acme.owner.get(acme.config).get_json()["state"] == "draft"
    assert Browser(acme).client.get(acme.login).status_code == 404
    early = acme.owner.post(f"{acme.config}/activate")
    assert (early.status_code, early.get_json()["code"]) == (409, "sso_not_tested")
    alone = acme.owner.patch(acme.config, json={"auth_method": "sso"})
    assert (alone.status_code, alone.get_json()["code"]) == (409, "sso_not_active")
    activate(acme)
    config = acme.owner.get(acme.config).get_json()
    assert (config["state"], config["auth_method"], config["warnings"]) == ("active", "both", [])
    # Another application was not tested, and is not the only way in at once.
    acme.change(client_id=str(uuid.uuid4()))
    changed = acme.owner.get(acme.config).get_json()
    assert (changed["state"], changed["auth_method"]) == ("draft", "local")


def test_a_directory_that_is_none_is_told_at_the_test(new_company: NewCompany) -> None:
    acme = new_company(active=False)
    acme.change(directory_id=str(uuid.uuid4()))
    answer = acme.owner.post(f"{acme.config}/test")
    assert (answer.status_code, answer.get_json()["code"]) == (409, "sso_directory_not_found")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("directory_id", "common"),
        ("directory_id", "organizations"),
        ("directory_id", "consumers"),
        ("client_id", "acme.example"),
        ("scopes", ["openid"]),
        ("scopes", []),
        ("group_roles", {"administrators": "admin"}),
        ("group_roles", {"0f2b1c9e-5d2f-4c57-9a6c-3f1f2f0f8a11": "king"}),
        ("default_role", "owner"),
        ("certificate", "no PEM"),
        ("sso_domain_whitelist", ["unproven.example"]),
        ("response_mode", "fragment"),
        ("auth_method", "none"),
    ],
)
def test_what_does_not_fit_is_refused(field: str, value: Any, acme: Company) -> None:
    answer = acme.owner.patch(acme.config, json={field: value})
    assert answer.status_code == 422, answer.text
    assert field in answer.get_json()["errors"]


def test_a_secret_is_kept_sealed_and_never_shown(new_company: NewCompany, inside: Flask) -> None:
    acme = new_company(active=False)
    acme.application.secret = "the secret of acme"
    said = acme.owner.patch(acme.config, json={"client_secret": acme.application.secret})
    assert "the secret" not in said.text
    assert said.get_json()["has_client_secret"] is True
    with platform_session() as session:
        row = session.query(TenantSSOConfig).filter_by(tenant_id=acme.house.id).one()
    assert "secret" not in str(row.sealed_client_secret)
    activate(acme)
    acme.application.secret = "another one"
    refused = Browser(acme).sign_in(acme.newcomer())
    assert refused.get_json()["code"] == "sso_refused"
    (warning,) = acme.owner.get(acme.config).get_json()["warnings"]
    assert "7000215" in warning


def test_a_certificate_serves_as_well(new_company: NewCompany) -> None:
    acme = new_company(active=False)
    pem, public = _certificate(days=10)
    acme.application.certificate = public
    said = acme.owner.patch(acme.config, json={"certificate": pem}).get_json()
    assert said["has_certificate"] is True
    assert "expires on" in said["warnings"][0]
    activate(acme)
    _, acme.application.certificate = _certificate(days=10)
    number = Browser(acme).sign_in(acme.newcomer()).get_json()["detail"]
    assert "certificate here is not one that is registered" in number


def test_groups_give_roles_and_take_them(new_company: NewCompany, inside: Flask) -> None:
    """Asked of Graph, twenty at a time: a person in more than 200 groups brings none of them."""
    acme = new_company()
    groups = [str(uuid.uuid4()) for _ in range(45)]
    acme.change(
        group_roles=dict.fromkeys(groups[:44], "viewer") | {groups[44]: "admin"},
        sso_domain_whitelist=[acme.domain],
        auto_provisioning_enabled=True,
    )
    many = [str(uuid.uuid4()) for _ in range(250)]
    person = acme.newcomer("Ursula", groups[44], groups[0], *many)
    assert _role(acme, person) == "admin"
    person.groups = {groups[3]}
    assert _role(acme, person) == "viewer"
    acme.directory.graph_misbehaviour = "503"
    person.groups = {groups[44]}
    assert _role(acme, person) == "viewer"  # as it was last known
    stranger = Browser(acme).sign_in(acme.newcomer("Bob", groups[44]))
    assert stranger.status_code == 503  # and nobody gets in on a guess
    acme.directory.graph_misbehaviour = None
    person.groups = set()
    refused = Browser(acme).sign_in(person)
    assert (refused.status_code, refused.get_json()["code"]) == (403, "sso_no_role")


def test_the_last_owner_stays_one(new_company: NewCompany, inside: Flask) -> None:
    acme = new_company()
    group = str(uuid.uuid4())
    acme.change(group_roles={group: "viewer"})
    person = acme.directory.add_person("alice@acme.example", "Alice", group)
    browser = Browser(acme)
    token = browser.sign_in(person).get_json()["link_token"]
    body = {
        "link_token": token,
        "email": acme.owner.email,
        "password": "correct horse battery staple",
    }
    bearer(browser.client.post("/api/auth/sso/link", json=body))
    assert _role(acme, person) == "owner"
    ada = new_person(acme.app, "Ada")
    with main_session(tenant_id=acme.house.id) as session:
        members.add_member(session, tenant_id=acme.house.id, user_id=ada.user_id, role="owner")
    assert _role(acme, person) == "viewer"


def test_an_application_is_configured_whole_and_removed(acme: Company) -> None:
    before = acme.owner.get(acme.config).get_json()
    again = acme.owner.send("PUT", acme.config, json=acme.given()).get_json()
    assert (again["state"], again["group_roles"], again["scopes"]) == ("active", {}, ["User.Read"])
    assert again["id"] == before["id"]
    assert again["redirect_uri"] == "http://localhost/api/auth/sso/azure/callback"


def _role(acme: Company, person: Any) -> str:
    headers = bearer(Browser(acme).sign_in(person))
    tenant = acme.app.test_client().get(f"/api/tenants/{acme.house.id}", headers=headers)
    return str(tenant.get_json()["role"])


def _certificate(*, days: int) -> tuple[str, str]:
    """Private key and certificate in one, and the certificate alone."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tenantry")])
    now = clock.now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    public = certificate.public_bytes(Encoding.PEM).decode()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return pem + public, public


def test_what_another_directory_said_counts_no_more(new_company: NewCompany) -> None:
    """Neither the people that it knew nor the sessions that it authenticated come back."""
    acme = new_company()
    acme.change(
        sso_domain_whitelist=[acme.domain], auto_provisioning_enabled=True, default_role="user"
    )
    person = acme.newcomer()
    headers = bearer(Browser(acme).sign_in(person))
    client = acme.app.test_client()
    assert client.get(acme.house.documents, headers=headers).status_code == 200
    acme.directory = acme.entra.add_directory()
    acme.directory.applications[acme.application.id] = acme.application
    acme.change(directory_id=acme.directory.id)
    activate(acme)
    assert client.get("/api/users/me", headers=headers).status_code == 401
    acme.directory.people[person.id] = person  # the same ids and address, of other people's making
    assert Browser(acme).sign_in(person).get_json()["code"] == "sso_link_required"
