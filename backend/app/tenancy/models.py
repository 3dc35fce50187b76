"""The base of every table that lies in a tenant's own database."""

from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

from app.core.db import NAMING


class TenantModel(DeclarativeBase):
    """A table of the tenant plane; its rows refer to the main plane by UUID, never by key."""

    metadata = MetaData(naming_convention=NAMING)
