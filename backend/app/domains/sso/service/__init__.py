"""The verbs of single sign-on, and what they work with."""

from dataclasses import dataclass

from app.core.secrets import SecretBox
from app.domains.sso.service.parcels import Parcels
from app.integrations.entra import Entra
from app.integrations.graph import Graph
from app.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The world outside, of which there is one of each in a process."""

    settings: Settings
    secrets: SecretBox
    entra: Entra
    graph: Graph
    parcels: Parcels
