"""Many tenants' databases, made in bulk, and what one request does in one of them."""

import random
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import ids
from app.domains.documents.models import Document
from app.tenancy import provisioning
from app.tenancy.credentials import Credentials
from app.tenancy.locations import TenantLocation
from app.tenancy.server import statement
from library import fill
from stage import INSTALLATION, Stage

ROWS: Final = 20
_BUILDERS: Final = 4


@dataclass(frozen=True)
class House:
    """A tenant, and its login unsealed beforehand: the peers shall not pay for that."""

    location: TenantLocation
    credentials: Credentials


def read(session: Session) -> None:
    """One request's work: the newest documents, as the list of documents reads them."""
    found = session.scalars(select(Document).order_by(Document.id.desc()).limit(ROWS)).all()
    if len(found) != ROWS:
        raise LookupError(f"{len(found)} rows instead of {ROWS}")


class Zipf:
    """Draws houses: the one of rank r with a weight of 1 / r ** exponent."""

    def __init__(self, houses: Sequence[House], exponent: float) -> None:
        self._houses = houses
        self._limits = list(accumulate(rank**-exponent for rank in range(1, len(houses) + 1)))

    def __call__(self, chance: random.Random) -> House:
        at = bisect_left(self._limits, chance.random() * self._limits[-1])
        return self._houses[at]


def build(stage: Stage, count: int) -> list[House]:
    """Clones with their roles and grants, each with `ROWS` documents; in no ledger."""
    template = _fill_template(stage)
    with ThreadPoolExecutor(_BUILDERS) as pool:
        shares = [range(start, count, _BUILDERS) for start in range(_BUILDERS)]
        built = pool.map(lambda share: _build_some(stage, template, share), shares)
        return [house for share in built for house in share]


def _build_some(stage: Stage, template: str, numbers: Iterable[int]) -> list[House]:
    houses = []
    with stage.manager.server.connect_as_provisioner() as connection:
        for number in numbers:
            house = _new_house(stage, number)
            provisioning.create_role(
                connection,
                INSTALLATION,
                house.location,
                house.credentials,
                connection_limit=stage.settings.tenant_role_connection_limit,
            )
            provisioning.create_database(
                connection, INSTALLATION, house.location, template=template
            )
            provisioning.open_database(
                connection,
                INSTALLATION,
                house.location,
                statement_timeout_ms=stage.settings.tenant_statement_timeout_ms,
            )
            houses.append(house)
    return houses


def _new_house(stage: Stage, number: int) -> House:
    location = stage.manager.new_location(ids.new_id(), f"t{number}")
    sealed = location.sealed_credentials
    return House(location, Credentials.loads(stage.secrets.open(sealed, context=location.context)))


def _fill_template(stage: Stage) -> str:
    """A clone of the template with documents in it, to be cloned in turn."""
    name = f"{INSTALLATION.id}_filled"
    server = stage.manager.server
    with server.connect_as_provisioner() as connection:
        connection.execute(
            statement(
                "CREATE DATABASE {name} TEMPLATE {template} OWNER {owner}",
                name=name,
                template=stage.template,
                owner=INSTALLATION.schema_owner,
            )
        )
        fill(server.owner_url(name), first=1, last=ROWS, owner=ids.new_id())
        connection.execute(
            statement("ALTER DATABASE {name} IS_TEMPLATE true ALLOW_CONNECTIONS false", name=name)
        )
    return name
