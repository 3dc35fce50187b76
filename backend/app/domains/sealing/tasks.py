"""The job that follows a change of the key."""

from datetime import timedelta

from flask import current_app

from app.core.db import MainModel, platform_session
from app.core.tasks import periodic
from app.domains.sealing import service
from app.domains.sealing.service import Outcome


@periodic(name="sealing.reseal", every=timedelta(days=1), queue="default", plane=None)
def reseal() -> None:
    """Seals anew what a former key sealed in the main database; nothing where no key changed."""
    columns = [
        column
        for column in current_app.extensions["sealed_columns"]
        if issubclass(column.model, MainModel)
    ]
    service.reseal(current_app.extensions["secrets"], columns, platform_session, Outcome())
