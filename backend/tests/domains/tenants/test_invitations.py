"""Inviting people into a tenant, and accepting."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from app.core import clock, ids
from app.core.db import main_session, platform_session
from app.domains.audit.models import PlatformEntry
from app.domains.identity.models import SentMail, User
from app.domains.tenants.models import Invitation, TenantState, UserTenantAssociation
from app.settings import Settings
from tests.cast import PASSWORD, Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.core.canaries import holds
from tests.core.work import work
from tests.domains.tenants.ledger import set_state
from tests.post import PostOffice, token_of

ACCEPT, PREVIEW = "/api/invitations/accept", "/api/invitations/preview"
NEW = {"name": "Bob", "password": PASSWORD}


@pytest.fixture
def email() -> str:
    return f"bob.{ids.new_id().hex}@example.com"


@pytest.fixture
def ada(context: Flask) -> Person:
    return new_person(context, "Ada")


@pytest.fixture
def bob(context: Flask) -> Person:
    return new_person(context, "Bob")


@pytest.fixture
def house(cast: Cast, ada: Person, bob: Person) -> House:
    return new_house("initech", cast.alice, admin=ada, viewer=bob)


def path(house: House, invitation: dict[str, Any] | None = None) -> str:
    return f"/api/tenants/{house.id}/invitations" + (f"/{invitation['id']}" if invitation else "")


def invite(inviter: Person, house: House, email: str, role: str = "user") -> dict[str, Any]:
    answer = inviter.post(path(house), json={"email": email, "role": role})
    assert answer.status_code == 201, answer.text
    invitation: dict[str, Any] = answer.get_json()
    return invitation


def accept(post: PostOffice, token: str, **more: str) -> Any:
    return post.app.test_client().post(ACCEPT, json={"token": token} | more)


def preview(post: PostOffice, token: str) -> Any:
    return post.app.test_client().post(PREVIEW, json={"token": token})


def members(asker: Person, house: House) -> dict[str, str]:
    listed = asker.get(f"/api/tenants/{house.id}/users").get_json()["items"]
    return {each["email"]: each["role"] for each in listed}


def states(asker: Person, house: House, query: str = "") -> list[str]:
    items = asker.get(path(house) + query).get_json()["items"]
    return [each["state"] for each in items]


def expire(invitation: dict[str, Any]) -> None:
    with platform_session() as session:
        session.execute(
            update(Invitation)
            .where(Invitation.id == invitation["id"])
            .values(expires_at=clock.now())
        )


def forget_mails(email: str) -> None:
    """As if an hour had passed."""
    with main_session() as session:
        session.execute(
            update(SentMail)
            .where(SentMail.address == email)
            .values(created_at=SentMail.created_at - timedelta(hours=1))
        )


def test_mallory_neither_sees_nor_changes_them(
    cast: Cast, house: House, post: PostOffice, email: str
) -> None:
    invitation = invite(cast.alice, house, email)
    mallory, one = cast.mallory, path(house, invitation)
    for answer in (
        mallory.get(path(house)),
        mallory.post(path(house), json={"email": mallory.email, "role": "owner"}),
        mallory.delete(one),
        mallory.post(one + "/resend"),
        mallory.delete(path(cast.globex, invitation)),
        mallory.post(path(cast.globex, invitation) + "/resend"),
    ):
        refusal(answer, 404)
    assert states(mallory, cast.globex) == []
    assert states(cast.alice, house) == ["pending"]
    assert accept(post, post.token(email), **NEW).status_code == 200


def test_those_who_do_not_manage_members_do_not_invite(house: House, bob: Person) -> None:
    refusal(bob.post(path(house), json={"email": "x@example.com", "role": "viewer"}), 403)
    refusal(bob.get(path(house)), 403)


def test_somebody_new_accepts_and_signs_in(
    ada: Person, house: House, post: PostOffice, email: str
) -> None:
    invitation = invite(ada, house, email.upper(), "viewer")
    assert (invitation["email"], invitation["state"]) == (email, "pending")
    token = post.token(email)
    shown = preview(post, token).get_json()
    assert shown | {"expires_at": ""} == {
        "tenant": "Initech",
        "inviter": "Ada",
        "email": email,
        "role": "viewer",
        "expires_at": "",
        "account_exists": False,
    }
    answer = accept(post, token, **NEW)
    assert answer.get_json() == {"tenant_id": str(house.id), "tenant": "Initech", "role": "viewer"}
    assert members(ada, house)[email] == "viewer"
    body = {"email": email, "password": PASSWORD}
    tokens = post.app.test_client().post("/api/auth/login", json=body).get_json()
    me = post.app.test_client().get(
        "/api/users/me", headers={"Authorization": f"Bearer {tokens['access_token']}"}
    )
    assert me.get_json()["email_verified"] is True
    assert states(ada, house) == ["accepted"]


def test_an_invitation_is_in_the_trail_and_its_token_nowhere(
    house: House, cast: Cast, settings: Settings, post: PostOffice, email: str
) -> None:
    invitation = invite(cast.alice, house, email)
    token = post.token(email)
    accept(post, token, **NEW)
    cast.alice.delete(path(house, invite(cast.alice, house, f"x.{email}")))
    with main_session(tenant_id=house.id) as session:
        of_invitations = ("user.invited", "invitation.accepted", "invitation.revoked")
        query = select(PlatformEntry).where(PlatformEntry.type.in_(of_invitations))
        entries = session.scalars(query.order_by(PlatformEntry.id)).all()
    assert [entry.type.partition(".")[2] for entry in entries] == [
        "invited",
        "accepted",
        "invited",
        "revoked",
    ]
    assert [entry.target for entry in entries[:2]] == [invitation["id"]] * 2
    assert entries[0].user_id == cast.alice.user_id
    assert not holds(settings, token)


def test_the_mail_says_who_invites_whom_whereto(
    ada: Person, house: House, post: PostOffice, email: str
) -> None:
    invite(ada, house, email)
    (mail,) = post.to(email)
    assert mail.subject == "Ada invites you to Initech"
    assert ada.email in mail.text
    assert "/accept-invitation#token=" in mail.text


@pytest.mark.parametrize("missing", [{}, {"name": "Bob"}, {"password": PASSWORD}])
def test_somebody_new_needs_a_name_and_a_password(
    cast: Cast, house: House, post: PostOffice, email: str, missing: dict[str, str]
) -> None:
    invite(cast.alice, house, email)
    problem = refusal(accept(post, post.token(email), **missing), 422)
    assert set(problem["errors"]) == {"name", "password"} - missing.keys()
    assert states(cast.alice, house) == ["pending"]


def test_an_account_accepts_only_when_its_owner_is_signed_in(
    cast: Cast, house: House, post: PostOffice
) -> None:
    invite(cast.alice, house, cast.ursula.email)
    token = post.token(cast.ursula.email)
    assert preview(post, token).get_json()["account_exists"] is True
    refusal(accept(post, token, **NEW), 401, "sign_in_to_accept")
    refusal(cast.mallory.post(ACCEPT, json={"token": token}), 403, "invitation_for_another")
    nobody = {"Authorization": "Bearer nonsense"}
    refusal(post.app.test_client().post(ACCEPT, json={"token": token}, headers=nobody), 401)
    assert cast.ursula.email not in members(cast.alice, house)
    assert cast.ursula.post(ACCEPT, json={"token": token}).status_code == 200
    assert members(cast.alice, house)[cast.ursula.email] == "user"


def test_whoever_is_signed_in_makes_no_account_for_another_address(
    cast: Cast, house: House, post: PostOffice, email: str
) -> None:
    invite(cast.alice, house, email)
    body = {"token": post.token(email)} | NEW
    refusal(cast.mallory.post(ACCEPT, json=body), 403, "invitation_for_another")


def test_accepting_proves_the_address_of_an_account(
    context: Flask, cast: Cast, house: House, post: PostOffice
) -> None:
    ursula = new_person(context, "Ursula", verified=False)
    invite(cast.alice, house, ursula.email)
    assert ursula.post(ACCEPT, json={"token": post.token(ursula.email)}).status_code == 200
    assert ursula.get("/api/users/me").get_json()["email_verified"] is True


def test_an_invitation_is_accepted_once(
    cast: Cast, house: House, post: PostOffice, email: str
) -> None:
    invite(cast.alice, house, email)
    token = post.token(email)
    assert accept(post, token, **NEW).status_code == 200
    refusal(accept(post, token, **NEW), 410, "invitation_over")
    refusal(preview(post, token), 410, "invitation_over")


def test_of_twenty_at_once_one_is_accepted(
    cast: Cast, house: House, post: PostOffice, email: str
) -> None:
    invite(cast.alice, house, email)
    token = post.token(email)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: accept(post, token, **NEW).status_code, range(20)))
    assert sorted(answers) == [200] + [410] * 19
    with platform_session() as session:
        user = session.scalars(select(User).where(User.email == email)).one()
        mine = select(UserTenantAssociation).where(UserTenantAssociation.user_id == user.id)
        assert len(session.scalars(mine).all()) == 1


def test_a_member_keeps_the_role(
    cast: Cast, house: House, post: PostOffice, context: Flask
) -> None:
    """Somebody joins by another way while the invitation is open."""
    ursula = new_person(context, "Ursula")
    invite(cast.alice, house, ursula.email, "viewer")
    with main_session(tenant_id=house.id) as session:
        session.add(UserTenantAssociation(user_id=ursula.user_id, tenant_id=house.id, role="admin"))
    answer = ursula.post(ACCEPT, json={"token": post.token(ursula.email)})
    assert answer.get_json()["role"] == "admin"
    assert members(cast.alice, house)[ursula.email] == "admin"


def test_a_member_is_not_invited(cast: Cast, house: House, bob: Person) -> None:
    answer = cast.alice.post(path(house), json={"email": bob.email, "role": "admin"})
    refusal(answer, 409, "already_member")


def test_only_owners_have_to_do_with_invitations_of_owners(
    cast: Cast, house: House, ada: Person, post: PostOffice, email: str
) -> None:
    refusal(ada.post(path(house), json={"email": email, "role": "owner"}), 403, "owners_only")
    invitation = invite(cast.alice, house, email, "owner")
    one = path(house, invitation)
    refusal(ada.post(path(house), json={"email": email, "role": "user"}), 403, "owners_only")
    refusal(ada.delete(one), 403, "owners_only")
    refusal(ada.post(one + "/resend"), 403, "owners_only")
    assert accept(post, post.token(email), **NEW).get_json()["role"] == "owner"


def test_a_revoked_invitation_is_over(
    cast: Cast, house: House, post: PostOffice, email: str
) -> None:
    invitation = invite(cast.alice, house, email)
    token, one = post.token(email), path(house, invitation)
    assert cast.alice.delete(one).status_code == 204
    refusal(accept(post, token, **NEW), 410, "invitation_over")
    refusal(cast.alice.delete(one), 404, "invitation_not_found")
    refusal(cast.alice.post(one + "/resend"), 404, "invitation_not_found")
    assert states(cast.alice, house) == ["revoked"]


def test_one_that_is_revoked_before_its_mail_left_sends_none(
    cast: Cast, house: House, post: PostOffice, email: str
) -> None:
    cast.alice.delete(path(house, invite(cast.alice, house, email)))
    assert post.to(email) == []


def test_an_expired_invitation_is_over_until_it_is_sent_again(
    cast: Cast, house: House, post: PostOffice, email: str
) -> None:
    invitation = invite(cast.alice, house, email)
    old = post.token(email)
    expire(invitation)
    refusal(accept(post, old, **NEW), 410, "invitation_over")
    assert states(cast.alice, house) == ["expired"]
    forget_mails(email)
    again = cast.alice.post(path(house, invitation) + "/resend")
    assert again.get_json()["state"] == "pending"
    new = post.token(email)
    refusal(accept(post, old, **NEW), 404, "invitation_not_found")
    assert accept(post, new, **NEW).status_code == 200


def test_inviting_again_renews_the_same_invitation(
    cast: Cast, house: House, ada: Person, post: PostOffice, email: str
) -> None:
    first = invite(cast.alice, house, email, "viewer")
    post.collect()
    forget_mails(email)
    second = invite(ada, house, email, "admin")
    assert (second["id"], second["invited_by"]) == (first["id"], str(ada.user_id))
    assert len(post.to(email)) == 2
    assert accept(post, post.token(email), **NEW).get_json()["role"] == "admin"


def test_one_who_was_taken_out_leaves_no_way_back_in(
    cast: Cast, house: House, ada: Person, post: PostOffice, email: str
) -> None:
    invite(ada, house, email, "admin")
    token = post.token(email)
    assert cast.alice.delete(f"/api/tenants/{house.id}/users/{ada.user_id}").status_code == 204
    refusal(accept(post, token, **NEW), 410, "invitation_over")
    refusal(preview(post, token), 410, "invitation_over")


def test_one_who_is_no_owner_any_more_makes_no_owner(
    cast: Cast, house: House, ada: Person, post: PostOffice, email: str
) -> None:
    user = f"/api/tenants/{house.id}/users/{ada.user_id}"
    cast.alice.patch(user, json={"role": "owner"})
    invitation = invite(ada, house, email, "owner")
    token = post.token(email)
    cast.alice.patch(user, json={"role": "admin"})
    refusal(accept(post, token, **NEW), 410, "invitation_over")
    forget_mails(email)
    cast.alice.post(path(house, invitation) + "/resend")
    assert accept(post, post.token(email), **NEW).get_json()["role"] == "owner"


@pytest.mark.parametrize("state", [TenantState.SUSPENDED, TenantState.DELETED])
def test_a_tenant_that_is_closed_takes_nobody_in(
    cast: Cast, house: House, post: PostOffice, email: str, state: TenantState
) -> None:
    invite(cast.alice, house, email)
    token = post.token(email)
    set_state(house.id, state)
    refusal(accept(post, token, **NEW), 409, "tenant_not_open")
    refusal(preview(post, token), 409, "tenant_not_open")
    set_state(house.id, TenantState.ACTIVE)
    assert accept(post, token, **NEW).status_code == 200


@pytest.mark.parametrize("token", ["x", "é" * 30, "' OR 1=1 --"])
def test_a_token_that_was_never_given_out(post: PostOffice, token: str) -> None:
    refusal(preview(post, token), 404, "invitation_not_found")
    refusal(accept(post, token, **NEW), 404, "invitation_not_found")


def test_adding_a_user_invites_known_and_unknown_alike(
    cast: Cast, house: House, post: PostOffice, email: str
) -> None:
    answers, works = [], []
    for address in (cast.ursula.email, email):
        body = {"email": address, "role": "user"}
        with work(cast.alice.app) as done:
            answer = cast.alice.post(f"/api/tenants/{house.id}/users", json=body)
        assert answer.status_code == 202
        answers.append(answer.get_json())
        works.append(done)
        assert len(post.to(address)) == 1
        assert address not in members(cast.alice, house)
    one_of_each = dict.fromkeys(("id", "email", "created_at", "updated_at", "expires_at"), "")
    assert answers[0] | one_of_each == answers[1] | one_of_each
    assert works[0] == works[1]


def test_invitations_come_in_pages_and_by_state(cast: Cast, house: House, post: PostOffice) -> None:
    made = [invite(cast.alice, house, f"x{number}@example.com") for number in range(3)]
    cast.alice.delete(path(house, made[0]))
    first = cast.alice.get(path(house) + "?limit=2").get_json()
    rest = cast.alice.get(path(house) + f"?cursor={first['next_cursor']}").get_json()
    assert [each["id"] for each in first["items"] + rest["items"]] == [
        each["id"] for each in reversed(made)
    ]
    assert rest["next_cursor"] is None
    assert states(cast.alice, house, "?state=revoked") == ["revoked"]
    assert states(cast.alice, house, "?state=pending") == ["pending"] * 2
    refusal(cast.alice.get(path(house) + "?state=lost"), 422)


def test_the_list_says_which_mails_left(
    cast: Cast, house: House, post: PostOffice, email: str
) -> None:
    invite(cast.alice, house, email)
    assert cast.alice.get(path(house)).get_json()["items"][0]["sent_at"] is None
    post.collect()
    assert cast.alice.get(path(house)).get_json()["items"][0]["sent_at"] is not None


def test_a_mail_that_no_server_takes_is_not_said_to_have_left(
    cast: Cast, house: House, post: PostOffice
) -> None:
    address = "bob@münchen.example"  # an address that would need RFC 6531
    invite(cast.alice, house, address)
    assert post.to(address) == []
    assert cast.alice.get(path(house)).get_json()["items"][0]["sent_at"] is None


def test_many_invitations_do_not_keep_a_reset_back(
    cast: Cast, house: House, post: PostOffice, bob: Person
) -> None:
    with main_session() as session:
        session.add_all(
            SentMail(address=bob.email, topic=f"invitation/{number}") for number in range(20)
        )
    bobs = cast.mallory.post(path(cast.globex), json={"email": bob.email, "role": "viewer"})
    assert bobs.status_code == 201
    assert post.to(bob.email) == []
    post.app.test_client().post("/api/auth/forgot-password", json={"email": bob.email})
    assert [mail.subject for mail in post.to(bob.email)] == ["Choose a new password"]


def test_two_tenants_may_invite_the_same_person_at_once(
    cast: Cast, house: House, post: PostOffice, email: str
) -> None:
    invite(cast.alice, house, email)
    invite(cast.mallory, cast.globex, email)
    first, second = (token_of(mail) for mail in post.to(email))
    assert preview(post, first).get_json()["tenant"] == "Initech"
    assert preview(post, second).get_json()["tenant"] == "Globex"


@pytest.mark.parametrize("role", ["", "root", "Owner", None, 1, ["owner"]])
def test_what_is_no_role_is_refused(cast: Cast, house: House, role: object) -> None:
    refusal(cast.alice.post(path(house), json={"email": "x@example.com", "role": role}), 422)


def test_a_member_leaves(cast: Cast, house: House, bob: Person) -> None:
    me = f"/api/tenants/{house.id}/users/me"
    assert bob.delete(me).status_code == 204
    refusal(bob.delete(me), 404)
    refusal(bob.get(house.documents), 404)
    assert bob.email not in members(cast.alice, house)


def test_the_last_owner_does_not_leave(cast: Cast, house: House, ada: Person) -> None:
    me = f"/api/tenants/{house.id}/users/me"
    refusal(cast.alice.delete(me), 409, "last_owner")
    cast.alice.patch(f"/api/tenants/{house.id}/users/{ada.user_id}", json={"role": "owner"})
    assert cast.alice.delete(me).status_code == 204


def test_a_suspended_tenant_can_be_left(cast: Cast, house: House, bob: Person) -> None:
    set_state(house.id, TenantState.SUSPENDED)
    assert bob.delete(f"/api/tenants/{house.id}/users/me").status_code == 204


def test_the_platform_is_no_member_that_could_leave(cast: Cast, house: House) -> None:
    refusal(cast.petra.delete(f"/api/tenants/{house.id}/users/me"), 404)
