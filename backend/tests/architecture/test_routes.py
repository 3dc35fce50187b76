"""Every route states its policy, and one table says who gets what from it, as its contract says."""

import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import text
from werkzeug.test import TestResponse

from app.core.db import main_session
from app.core.http import PUBLIC, SIGNED_IN, stated_endpoint
from app.core.openapi import generate_yaml
from app.domains.access.policy import PERMISSIONS, PLATFORM_ADMIN
from app.domains.tenants.service import members
from tests.cast import Cast, Person
from tests.core.contract import BY_ID, conforms
from tests.paths import PROJECT

PUBLIC_ROUTES = {
    "health",
    "ready",
    "metrics",
    "openapi",
    "docs",
    "docs_asset",
    "identity.log_in",
    "identity.refresh",
    "identity.key_set",
    "identity.verify_email",
    "identity.resend_verification",
    "identity.forgot_password",
    "identity.reset_password",
    "registrations.register",
    "registrations.confirm_registration",
    "invitations.preview_invitation",
    "invitations.accept_invitation",
    "downloads.follow_link",
    "uploads.receive_bytes",
    "sso.go_to_directory",
    "sso.come_back",
    "sso.come_back_by_form",
    "sso.check_availability",
    "sso.detect",
    "sso.exchange_code",
    "sso.link_account",
}
# Nobody is a member before signing in; and a tenant that does not exist is answered alike.
PUBLIC_OF_A_TENANT = {"sso.go_to_directory", "sso.check_availability"}

# Columns: anonymous, a stranger (Mallory), viewer, user, admin, owner, platform administrator.
# A stranger to acme gets 404 from every route of acme: nothing says that it exists.
COLUMNS = ("anonymous", "mallory", "bob", "ursula", "ada", "alice", "petra")
# fmt: off
TABLE: dict[str, tuple[int, ...]] = {
    "health":                     (200, 200, 200, 200, 200, 200, 200),
    "ready":                      (200, 200, 200, 200, 200, 200, 200),
    "openapi":                    (200, 200, 200, 200, 200, 200, 200),
    "docs":                       (200, 200, 200, 200, 200, 200, 200),
    "docs_asset":                 (200, 200, 200, 200, 200, 200, 200),
    "metrics":                    (401, 401, 401, 401, 401, 401, 401),
    "identity.log_in":            (401, 401, 401, 401, 401, 401, 401),
    "identity.refresh":           (401, 401, 401, 401, 401, 401, 401),
    "identity.key_set":           (200, 200, 200, 200, 200, 200, 200),
    "identity.me":                (401, 200, 200, 200, 200, 200, 200),
    "identity.log_out":           (401, 204, 204, 204, 204, 204, 204),
    "identity.list_sessions":     (401, 200, 200, 200, 200, 200, 200),
    "identity.get_current_session": (401, 200, 200, 200, 200, 200, 200),
    "identity.end_session":       (401, 404, 404, 404, 404, 404, 404),
    "identity.end_other_sessions": (401, 200, 200, 200, 200, 200, 200),
    "identity.change_password":   (401, 403, 403, 403, 403, 403, 403),
    "identity.rename_me":         (401, 422, 422, 422, 422, 422, 422),
    "identity.verify_email":      (404, 404, 404, 404, 404, 404, 404),
    "identity.resend_verification": (202, 202, 202, 202, 202, 202, 202),
    "identity.forgot_password":   (202, 202, 202, 202, 202, 202, 202),
    "identity.reset_password":    (404, 404, 404, 404, 404, 404, 404),
    "registrations.register":     (422, 422, 422, 422, 422, 422, 422),
    "registrations.confirm_registration": (404, 404, 404, 404, 404, 404, 404),
    "tenants.create_tenant":      (401, 422, 422, 422, 422, 422, 422),
    "tenants.list_tenants":       (401, 200, 200, 200, 200, 200, 200),
    "tenants.get_tenant":         (401, 404, 200, 200, 200, 200, 200),
    "tenants.retry_provisioning": (401, 404, 403, 403, 403, 409, 409),
    "tenants.rename_tenant":      (401, 404, 403, 403, 403, 200, 200),
    "tenants.suspend_tenant":     (401, 404, 403, 403, 403, 403, 200),
    "tenants.resume_tenant":      (401, 404, 403, 403, 403, 403, 409),
    "tenants.make_read_only":     (401, 404, 403, 403, 403, 403, 200),
    "tenants.make_writable":      (401, 404, 403, 403, 403, 403, 200),
    "tenants.delete_tenant":      (401, 404, 403, 403, 403, 422, 422),
    "tenants.restore_tenant":     (401, 404, 403, 403, 403, 409, 409),
    "admin.list_all_tenants":     (401, 403, 403, 403, 403, 403, 200),
    "fleet.get_fleet":            (401, 403, 403, 403, 403, 403, 200),
    "fleet.list_migrations":      (401, 403, 403, 403, 403, 403, 200),
    "fleet.plan_migration":       (401, 403, 403, 403, 403, 403, 200),
    "fleet.start_migration":      (401, 403, 403, 403, 403, 403, 422),
    "fleet.get_migration":        (401, 403, 403, 403, 403, 403, 404),
    "fleet.list_results":         (401, 403, 403, 403, 403, 403, 404),
    "fleet.resume_migration":     (401, 403, 403, 403, 403, 403, 404),
    "domains.list_domains":       (401, 404, 403, 403, 200, 200, 404),
    "domains.claim_domain":       (401, 404, 403, 403, 422, 422, 404),
    "domains.verify_domain":      (401, 404, 403, 403, 404, 404, 404),
    "domains.remove_domain":      (401, 404, 403, 403, 404, 404, 404),
    "sandboxes.order_sandbox":    (401, 404, 403, 403, 403, 409, 404),
    "sandboxes.list_sandboxes":   (401, 404, 403, 403, 403, 200, 404),
    "sandboxes.get_sandbox":      (401, 404, 403, 403, 403, 404, 404),
    "members.list_members":       (401, 404, 200, 200, 200, 200, 404),
    "members.change_member":      (401, 404, 403, 403, 200, 200, 404),
    "members.remove_member":      (401, 404, 403, 403, 404, 404, 404),
    "members.add_member":         (401, 404, 403, 403, 409, 409, 404),
    "members.leave_tenant":       (401, 404, 204, 204, 204, 409, 404),
    "invitations.invite":         (401, 404, 403, 403, 409, 409, 404),
    "invitations.list_invitations": (401, 404, 403, 403, 200, 200, 404),
    "invitations.revoke_invitation": (401, 404, 403, 403, 404, 404, 404),
    "invitations.resend_invitation": (401, 404, 403, 403, 404, 404, 404),
    "invitations.preview_invitation": (404, 404, 404, 404, 404, 404, 404),
    "invitations.accept_invitation": (404, 404, 404, 404, 404, 404, 404),
    "access.list_roles":          (401, 404, 200, 200, 200, 200, 200),
    "sso_config.get_config":      (401, 404, 403, 403, 403, 404, 404),
    "sso_config.put_config":      (401, 404, 403, 403, 403, 422, 404),
    "sso_config.change_config":   (401, 404, 403, 403, 403, 422, 404),
    "sso_config.remove_config":   (401, 404, 403, 403, 403, 404, 404),
    "sso_config.test_config":     (401, 404, 403, 403, 403, 404, 404),
    "sso_config.activate_config": (401, 404, 403, 403, 403, 404, 404),
    "sso_config.list_attempts":   (401, 404, 403, 403, 403, 200, 404),
    "sso.go_to_directory":        (404, 404, 404, 404, 404, 404, 404),
    "sso.come_back":              (400, 400, 400, 400, 400, 400, 400),
    "sso.come_back_by_form":      (400, 400, 400, 400, 400, 400, 400),
    "sso.check_availability":     (200, 200, 200, 200, 200, 200, 200),
    "sso.detect":                 (200, 200, 200, 200, 200, 200, 200),
    "sso.exchange_code":          (400, 400, 400, 400, 400, 400, 400),
    "sso.link_account":           (401, 401, 401, 401, 401, 401, 401),
    "sso.log_out_of_directory":   (401, 200, 200, 200, 200, 200, 200),
    "sso_profile.get_profile":    (401, 404, 404, 404, 404, 404, 404),
    "sso_profile.get_photo":      (401, 404, 404, 404, 404, 404, 404),
    "audit.list_entries":         (401, 404, 403, 403, 200, 200, 404),
    "audit.export_entries":       (401, 404, 403, 403, 200, 200, 404),
    "audit.list_checkpoints":     (401, 404, 403, 403, 200, 200, 404),
    "audit.list_platform_entries": (401, 403, 403, 403, 403, 403, 200),
    "audit.export_platform_entries": (401, 403, 403, 403, 403, 403, 200),
    "audit.list_platform_checkpoints": (401, 403, 403, 403, 403, 403, 200),
    "activity.list_activities":   (401, 404, 200, 200, 200, 200, 404),
    "webhooks.list_endpoints":    (401, 404, 403, 403, 200, 200, 404),
    "webhooks.create_endpoint":   (401, 404, 403, 403, 422, 422, 404),
    "webhooks.get_endpoint":      (401, 404, 403, 403, 404, 404, 404),
    "webhooks.update_endpoint":   (401, 404, 403, 403, 404, 404, 404),
    "webhooks.delete_endpoint":   (401, 404, 403, 403, 404, 404, 404),
    "webhooks.rotate_secret":     (401, 404, 403, 403, 404, 404, 404),
    "webhooks.test_endpoint":     (401, 404, 403, 403, 404, 404, 404),
    "webhooks.list_deliveries":   (401, 404, 403, 403, 404, 404, 404),
    "webhooks.get_delivery":      (401, 404, 403, 403, 404, 404, 404),
    "webhooks.replay_delivery":   (401, 404, 403, 403, 404, 404, 404),
    "webhooks.replay_range":      (401, 404, 403, 403, 404, 404, 404),
    "backups.list_backups":       (401, 404, 403, 403, 403, 200, 200),
    "backups.get_backup":         (401, 404, 403, 403, 403, 404, 404),
    "backups.order_backup":       (401, 404, 403, 403, 403, 403, 409),
    "backups.order_proof":        (401, 404, 403, 403, 403, 403, 409),
    "exports.request_export":     (401, 404, 403, 403, 403, 202, 404),
    "exports.list_exports":       (401, 404, 403, 403, 403, 200, 404),
    "exports.get_export":         (401, 404, 403, 403, 403, 404, 404),
    "exports.create_export_link": (401, 404, 403, 403, 403, 404, 404),
    "exports.delete_export":      (401, 404, 403, 403, 403, 404, 404),
    "notifications.list_notifications": (401, 200, 200, 200, 200, 200, 200),
    "notifications.stream_notifications": (401, 200, 200, 200, 200, 200, 200),
    "notifications.mark_notification": (401, 404, 404, 404, 404, 404, 404),
    "notifications.mark_all":     (401, 200, 200, 200, 200, 200, 200),
    "notifications.list_preferences": (401, 200, 200, 200, 200, 200, 200),
    "notifications.change_preferences": (401, 422, 422, 422, 422, 422, 422),
    "outbox.list_event_types":    (401, 200, 200, 200, 200, 200, 200),
    "outbox.list_letters":        (401, 403, 403, 403, 403, 403, 200),
    "outbox.replay_letters":      (401, 403, 403, 403, 403, 403, 200),
    "outbox.replay_letter":       (401, 403, 403, 403, 403, 403, 404),
    "outbox.drop_letter":         (401, 403, 403, 403, 403, 403, 404),
    "documents.upload_document":  (401, 404, 403, 201, 201, 201, 404),
    "documents.list_documents":   (401, 404, 200, 200, 200, 200, 404),
    "documents.get_document":     (401, 404, 200, 200, 200, 200, 404),
    "downloads.download_document":(401, 404, 200, 200, 200, 200, 404),
    "downloads.create_link":      (401, 404, 200, 200, 200, 200, 404),
    "documents.update_document":  (401, 404, 403, 403, 200, 200, 404),
    "documents.delete_document":  (401, 404, 403, 403, 204, 204, 404),
    "documents.act_on_documents": (401, 404, 403, 200, 200, 200, 404),
    "documents.get_usage":        (401, 404, 200, 200, 200, 200, 404),
    "quota.get_quota":            (401, 404, 403, 403, 403, 403, 200),
    "quota.set_quota":            (401, 404, 403, 403, 403, 403, 422),
    "trash.list_trash":           (401, 404, 403, 200, 200, 200, 404),
    "trash.restore_document":     (401, 404, 403, 404, 404, 404, 404),
    "trash.purge_document":       (401, 404, 403, 404, 404, 404, 404),
    "trash.empty_trash":          (401, 404, 403, 200, 200, 200, 404),
    "versions.list_versions":     (401, 404, 200, 200, 200, 200, 404),
    "versions.upload_version":    (401, 404, 403, 403, 201, 201, 404),
    "versions.download_version":  (401, 404, 200, 200, 200, 200, 404),
    "versions.restore_version":   (401, 404, 403, 403, 200, 200, 404),
    "downloads.download_zip":     (401, 404, 200, 200, 200, 200, 404),
    "downloads.follow_link":      (403, 403, 403, 403, 403, 403, 403),
    "uploads.reserve_upload":     (401, 404, 403, 422, 422, 422, 404),
    "uploads.get_upload":         (401, 404, 403, 404, 404, 404, 404),
    "uploads.sign_parts":         (401, 404, 403, 404, 404, 404, 404),
    "uploads.complete_upload":    (401, 404, 403, 404, 404, 404, 404),
    "uploads.abort_upload":       (401, 404, 403, 404, 404, 404, 404),
    "uploads.receive_bytes":      (403, 403, 403, 403, 403, 403, 403),
}
# fmt: on

Request = Callable[[Any, dict[str, str]], TestResponse]


def _json(method: str, path: str, body: Mapping[str, object] | None = None) -> Request:
    return lambda client, headers: client.open(
        path, method=method, json=body, headers=headers, buffered=True
    )


def _requests(cast: Cast, document_id: str) -> dict[str, Request]:
    """One well-formed request for each route, on acme and a document of Alice's."""
    tenant, one = f"/api/tenants/{cast.acme.id}", f"{cast.acme.documents}/{document_id}"
    uploads = f"{cast.acme.documents}/uploads"
    migrations = "/api/admin/migrations"
    webhooks = f"{tenant}/webhooks"
    webhook = f"{webhooks}/{uuid4()}"
    passwords = {"current_password": "wrong", "new_password": "long enough"}
    refused = {"email": "nobody@example.com", "password": "wrong"}
    invited = {"email": cast.alice.email, "role": "viewer"}  # she is a member
    return {
        "health": _json("GET", "/health"),
        "ready": _json("GET", "/health/ready"),
        "metrics": _json("GET", "/metrics"),
        "openapi": _json("GET", "/api/openapi.json"),
        "docs": _json("GET", "/api/docs"),
        "docs_asset": _json("GET", "/api/docs/swagger-ui.css"),
        "identity.log_in": _json("POST", "/api/auth/login", refused),
        "identity.refresh": _json("POST", "/api/auth/refresh", {"refresh_token": "unknown"}),
        "identity.key_set": _json("GET", "/.well-known/jwks.json"),
        "identity.me": _json("GET", "/api/users/me"),
        "identity.log_out": _json("POST", "/api/auth/logout"),
        "identity.list_sessions": _json("GET", "/api/auth/sessions"),
        "identity.get_current_session": _json("GET", "/api/auth/current-session"),
        "identity.end_session": _json("DELETE", f"/api/auth/sessions/{uuid4()}"),
        "identity.end_other_sessions": _json("DELETE", "/api/auth/sessions"),
        "identity.change_password": _json("POST", "/api/users/me/password", passwords),
        "identity.rename_me": _json("PATCH", "/api/users/me", {"name": ""}),
        "identity.verify_email": _json("POST", "/api/auth/verify-email", {"token": "unknown"}),
        "identity.resend_verification": _json(
            "POST", "/api/auth/verify-email/resend", {"email": "nobody@example.com"}
        ),
        "identity.forgot_password": _json(
            "POST", "/api/auth/forgot-password", {"email": "nobody@example.com"}
        ),
        "identity.reset_password": _json(
            "POST", "/api/auth/reset-password", {"token": "unknown", "new_password": "long enough"}
        ),
        "registrations.register": _json("POST", "/api/tenants/register", {}),
        "registrations.confirm_registration": _json(
            "POST",
            "/api/tenants/register/confirm",
            {"token": "unknown", "password": "long enough"},
        ),
        "tenants.create_tenant": _json("POST", "/api/tenants", {"name": "", "slug": "-"}),
        "tenants.list_tenants": _json("GET", "/api/tenants"),
        "tenants.get_tenant": _json("GET", tenant),
        "tenants.rename_tenant": _json("PATCH", tenant, {"name": "Acme"}),
        "tenants.suspend_tenant": _json("POST", tenant + "/suspend"),
        "tenants.resume_tenant": _json("POST", tenant + "/resume"),
        "tenants.make_read_only": _json("POST", tenant + "/read-only"),
        "tenants.make_writable": _json("DELETE", tenant + "/read-only"),
        "quota.get_quota": _json("GET", tenant + "/quota"),
        "quota.set_quota": _json("PUT", tenant + "/quota", {"max_bytes": -1}),
        "tenants.delete_tenant": _json("DELETE", tenant + "?confirm=another"),
        "tenants.restore_tenant": _json("POST", tenant + "/restore"),
        "admin.list_all_tenants": _json("GET", "/api/admin/tenants"),
        "fleet.get_fleet": _json("GET", "/api/admin/fleet"),
        "fleet.list_migrations": _json("GET", migrations),
        "fleet.plan_migration": _json("POST", migrations + "/plan", {}),
        "fleet.start_migration": _json("POST", migrations, {"waves": "everybody"}),
        "fleet.get_migration": _json("GET", f"{migrations}/{uuid4()}"),
        "fleet.list_results": _json("GET", f"{migrations}/{uuid4()}/results"),
        "fleet.resume_migration": _json("POST", f"{migrations}/{uuid4()}/resume"),
        "domains.list_domains": _json("GET", tenant + "/domains"),
        "domains.claim_domain": _json("POST", tenant + "/domains", {"domain": "localhost"}),
        "domains.verify_domain": _json("POST", f"{tenant}/domains/{uuid4()}/verify"),
        "domains.remove_domain": _json("DELETE", f"{tenant}/domains/{uuid4()}"),
        "tenants.retry_provisioning": _json("POST", tenant + "/retry"),
        "sandboxes.order_sandbox": _json(
            "POST", tenant + "/sandboxes", {"name": "Try", "slug": cast.acme.slug}
        ),
        "sandboxes.list_sandboxes": _json("GET", tenant + "/sandboxes"),
        "sandboxes.get_sandbox": _json("GET", f"{tenant}/sandboxes/{uuid4()}"),
        "members.list_members": _json("GET", tenant + "/users"),
        "members.change_member": _json(
            "PATCH", f"{tenant}/users/{cast.bob.user_id}", {"role": "viewer"}
        ),
        "members.remove_member": _json("DELETE", f"{tenant}/users/{uuid4()}"),
        "members.add_member": _json("POST", tenant + "/users", invited),
        "members.leave_tenant": _json("DELETE", tenant + "/users/me"),
        "invitations.invite": _json("POST", tenant + "/invitations", invited),
        "invitations.list_invitations": _json("GET", tenant + "/invitations"),
        "invitations.revoke_invitation": _json("DELETE", f"{tenant}/invitations/{uuid4()}"),
        "invitations.resend_invitation": _json("POST", f"{tenant}/invitations/{uuid4()}/resend"),
        "invitations.preview_invitation": _json(
            "POST", "/api/invitations/preview", {"token": "unknown"}
        ),
        "invitations.accept_invitation": _json(
            "POST", "/api/invitations/accept", {"token": "unknown"}
        ),
        "access.list_roles": _json("GET", tenant + "/roles"),
        "sso_config.get_config": _json("GET", f"{tenant}/sso/config"),
        "sso_config.put_config": _json("PUT", f"{tenant}/sso/config", {}),
        "sso_config.change_config": _json("PATCH", f"{tenant}/sso/config", {}),
        "sso_config.remove_config": _json("DELETE", f"{tenant}/sso/config"),
        "sso_config.test_config": _json("POST", f"{tenant}/sso/config/test"),
        "sso_config.activate_config": _json("POST", f"{tenant}/sso/config/activate"),
        "sso_config.list_attempts": _json("GET", f"{tenant}/sso/config/attempts"),
        "sso.go_to_directory": _json("GET", f"/api/auth/sso/azure/login/{cast.acme.id}"),
        "sso.come_back": _json("GET", "/api/auth/sso/azure/callback"),
        "sso.come_back_by_form": lambda client, headers: client.post(
            "/api/auth/sso/azure/callback", data={}, headers=headers, buffered=True
        ),
        "sso.check_availability": _json("GET", f"/api/auth/sso/check-availability/{cast.acme.id}"),
        "sso.detect": _json("POST", "/api/auth/sso/detect", {"email": "nobody@example.com"}),
        "sso.exchange_code": _json(
            "POST", "/api/auth/sso/token", {"code": "unknown", "code_verifier": "v" * 43}
        ),
        "sso.link_account": _json(
            "POST", "/api/auth/sso/link", refused | {"link_token": "unknown"}
        ),
        "sso.log_out_of_directory": _json("POST", "/api/auth/sso/azure/logout"),
        "sso_profile.get_profile": _json("GET", "/api/users/me/azure/profile"),
        "sso_profile.get_photo": _json("GET", "/api/users/me/azure/photo"),
        "audit.list_entries": _json("GET", tenant + "/audit"),
        "audit.export_entries": _json("GET", tenant + "/audit/export?action=no.such"),
        "audit.list_checkpoints": _json("GET", tenant + "/audit/checkpoints"),
        "audit.list_platform_entries": _json("GET", "/api/admin/audit?limit=1"),
        "audit.export_platform_entries": _json("GET", "/api/admin/audit/export?action=no.such"),
        "audit.list_platform_checkpoints": _json("GET", "/api/admin/audit/checkpoints"),
        "activity.list_activities": _json("GET", tenant + "/events"),
        "webhooks.list_endpoints": _json("GET", webhooks),
        "webhooks.create_endpoint": _json(
            "POST", webhooks, {"url": "http://127.0.0.1", "event_types": ["*"]}
        ),
        "webhooks.get_endpoint": _json("GET", webhook),
        "webhooks.update_endpoint": _json("PATCH", webhook, {"enabled": False}),
        "webhooks.delete_endpoint": _json("DELETE", webhook),
        "webhooks.rotate_secret": _json("POST", f"{webhook}/secret"),
        "webhooks.test_endpoint": _json("POST", f"{webhook}/test"),
        "webhooks.list_deliveries": _json("GET", f"{webhook}/deliveries"),
        "webhooks.get_delivery": _json("GET", f"{webhook}/deliveries/{uuid4()}"),
        "webhooks.replay_delivery": _json("POST", f"{webhook}/deliveries/{uuid4()}/replay"),
        "webhooks.replay_range": _json(
            "POST", f"{webhook}/replay", {"since": "2026-11-24T00:00:00Z"}
        ),
        "backups.list_backups": _json("GET", tenant + "/backups"),
        "backups.get_backup": _json("GET", f"{tenant}/backups/{uuid4()}"),
        "backups.order_backup": _json("POST", tenant + "/backups"),
        "backups.order_proof": _json("POST", f"{tenant}/backups/{uuid4()}/proof"),
        "exports.request_export": _json("POST", tenant + "/exports"),
        "exports.list_exports": _json("GET", tenant + "/exports"),
        "exports.get_export": _json("GET", f"{tenant}/exports/{uuid4()}"),
        "exports.create_export_link": _json("GET", f"{tenant}/exports/{uuid4()}/download-url"),
        "exports.delete_export": _json("DELETE", f"{tenant}/exports/{uuid4()}"),
        "notifications.list_notifications": _json("GET", "/api/users/me/notifications"),
        "notifications.stream_notifications": _json("GET", "/api/users/me/notifications/stream"),
        "notifications.mark_notification": _json(
            "PATCH", f"/api/users/me/notifications/{uuid4()}", {"read": True}
        ),
        "notifications.mark_all": _json("POST", "/api/users/me/notifications/mark-all"),
        "notifications.list_preferences": _json("GET", "/api/users/me/notification-preferences"),
        "notifications.change_preferences": _json(
            "PATCH", "/api/users/me/notification-preferences", {"items": []}
        ),
        "outbox.list_event_types": _json("GET", "/api/event-types"),
        "outbox.list_letters": _json("GET", "/api/admin/dead-letters"),
        "outbox.replay_letters": _json(
            "POST", "/api/admin/dead-letters/replay", {"consumer": "nobody"}
        ),
        "outbox.replay_letter": _json("POST", f"/api/admin/dead-letters/{uuid4()}/replay"),
        "outbox.drop_letter": _json("DELETE", f"/api/admin/dead-letters/{uuid4()}"),
        "documents.upload_document": lambda client, headers: client.post(
            cast.acme.documents,
            data={"file": (io.BytesIO(b"plans"), "plans.txt")},
            headers=headers,
            buffered=True,
        ),
        "documents.list_documents": _json("GET", cast.acme.documents),
        "documents.get_document": _json("GET", one),
        "downloads.download_document": _json("GET", one + "/download"),
        "downloads.create_link": _json("GET", one + "/download-url"),
        "documents.update_document": _json("PATCH", one, {"tags": ["plans"]}),
        "documents.delete_document": _json("DELETE", one),
        "documents.act_on_documents": _json(
            "POST",
            cast.acme.documents + "/bulk",
            {"action": "tag", "ids": [document_id], "tags": ["plans"]},
        ),
        "documents.get_usage": _json("GET", tenant + "/usage"),
        "trash.list_trash": _json("GET", cast.acme.documents + "/trash"),
        "trash.restore_document": _json("POST", one + "/restore"),
        "trash.purge_document": _json("DELETE", f"{cast.acme.documents}/trash/{document_id}"),
        "trash.empty_trash": _json("DELETE", cast.acme.documents + "/trash"),
        "versions.list_versions": _json("GET", one + "/versions"),
        "versions.upload_version": lambda client, headers: client.post(
            one + "/versions",
            data={"file": (io.BytesIO(b"newer plans"), "plans.txt")},
            headers=headers,
            buffered=True,
        ),
        "versions.download_version": _json("GET", one + "/versions/1/download"),
        "versions.restore_version": _json("POST", one + "/versions/1/restore"),
        "downloads.download_zip": _json(
            "POST", cast.acme.documents + "/zip", {"ids": [document_id]}
        ),
        "downloads.follow_link": _json("GET", "/api/links/forged"),
        "uploads.reserve_upload": _json("POST", uploads, {"name": "plans.txt"}),
        "uploads.get_upload": _json("GET", f"{uploads}/{uuid4()}"),
        "uploads.sign_parts": _json("POST", f"{uploads}/{uuid4()}/parts", {"numbers": [1]}),
        "uploads.complete_upload": _json("POST", f"{uploads}/{uuid4()}/complete"),
        "uploads.abort_upload": _json("DELETE", f"{uploads}/{uuid4()}"),
        "uploads.receive_bytes": _json("PUT", "/api/incoming/forged"),
    }


def _bring_back(app: Flask, cast: Cast) -> None:
    """Whoever left acme is a member again, in the same role; no export of it is pending."""
    with app.app_context(), main_session(tenant_id=cast.acme.id) as session:
        session.execute(text("DELETE FROM exports"))  # of this tenant: others' are not seen
        for role, person in (("viewer", cast.bob), ("user", cast.ursula), ("admin", cast.ada)):
            members.add_member(session, tenant_id=cast.acme.id, user_id=person.user_id, role=role)


def _routes(app: Flask) -> Iterator[str]:
    yield from {rule.endpoint for rule in app.url_map.iter_rules()}


def test_every_route_states_its_policy(app: Flask) -> None:
    known = {PUBLIC, SIGNED_IN}.union(PLATFORM_ADMIN, *PERMISSIONS.values())
    for name in _routes(app):
        stated = stated_endpoint(app.view_functions[name])
        assert stated is not None, f"{name} has no @endpoint"
        assert stated.allow in known, f"{name} asks for {stated.allow}, which no role has"


def test_public_routes_are_listed_by_name(app: Flask) -> None:
    public = set()
    for name in _routes(app):
        stated = stated_endpoint(app.view_functions[name])
        if stated is not None and stated.allow == PUBLIC:
            public.add(name)
    assert public == PUBLIC_ROUTES


def test_routes_of_a_tenant_ask_for_a_permission(app: Flask) -> None:
    for rule in app.url_map.iter_rules():
        stated = stated_endpoint(app.view_functions[rule.endpoint])
        if rule.endpoint in PUBLIC_OF_A_TENANT:
            continue
        if stated is not None and "tenant_id" in rule.arguments:
            assert stated.allow not in {PUBLIC, SIGNED_IN}, rule.rule
        elif stated is not None:
            assert stated.transaction not in {"tenant", "tenant_reads", "tenant_rows"}, rule.rule


def test_the_table_covers_every_route(app: Flask) -> None:
    assert set(TABLE) == set(_routes(app))


@pytest.mark.parametrize("route", TABLE)
def test_who_gets_what(route: str, app: Flask, cast: Cast) -> None:
    got = []
    for column in COLUMNS:
        upload = cast.alice.post(
            cast.acme.documents, data={"file": (io.BytesIO(b"plans"), "plans.txt")}
        )
        request = _requests(cast, upload.get_json()["id"])[route]
        person: Person | None = getattr(cast, column, None)
        headers = {} if person is None else person.again().headers
        answer = request(app.test_client(), headers)
        conforms(BY_ID[route.rpartition(".")[2]], answer)
        got.append(answer.status_code)
        cast.petra.post(f"/api/tenants/{cast.acme.id}/resume")  # it may have been suspended
        cast.petra.delete(f"/api/tenants/{cast.acme.id}/read-only")
        _bring_back(app, cast)
        if person is not None:
            person.sign_in()  # the request may have ended the person's other sessions
    assert dict(zip(COLUMNS, got, strict=True)) == dict(zip(COLUMNS, TABLE[route], strict=True))


@pytest.mark.parametrize("route", [name for name, row in TABLE.items() if row[1] == 404])
def test_a_stranger_learns_nothing_of_a_tenant(route: str, app: Flask, cast: Cast) -> None:
    """Acme answers Mallory exactly as a tenant that does not exist."""
    client, headers = app.test_client(), cast.mallory.headers
    real = _requests(cast, str(uuid4()))[route](client, headers)
    nobody = str(uuid4())
    unreal = Cast(**(vars(cast) | {"acme": type(cast.acme)(nobody, "none", "none")}))  # type: ignore[arg-type]
    absent = _requests(unreal, str(uuid4()))[route](client, headers)
    answers = [answer.get_json() | {"request_id": ""} for answer in (real, absent)]
    assert answers[0] == answers[1]


def test_swagger_is_what_the_routes_generate(app: Flask) -> None:
    written = (PROJECT / "swagger.yaml").read_text(encoding="utf-8")
    assert generate_yaml(app) == written, "run scripts/generate_swagger.py"
