"""What the tenant's audit trail says of one document."""

from typing import Any

from flask import Flask
from sqlalchemy import select

from app.domains.audit.models import TenantEntry
from app.tenancy.manager import current_manager
from tests.cast import House


def told(app: Flask, house: House, document_id: str) -> list[tuple[str, dict[str, Any]]]:
    """Type and details, in the order of their recording."""
    with app.app_context(), current_manager().tenant_db_session(house.database) as session:
        entries = session.scalars(
            select(TenantEntry)
            .where(TenantEntry.target == document_id)
            .order_by(TenantEntry.recorded_at)
        )
        return [(entry.type, entry.details) for entry in entries]
