"""What a sign-in remembers between two requests: sealed, for minutes, and handed out once."""

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any, Literal

from redis import Redis
from redis.exceptions import RedisError

from app.core import ids
from app.core.secrets import SecretBox, SecretUnreadable
from app.domains.sso.errors import ParcelsUnavailable
from app.settings import Settings

logger = logging.getLogger(__name__)

# A browser that is away at the directory; a person to be linked; a session to be fetched; a test;
# what a further sign-in has to show.
Kind = Literal["state", "link", "code", "test", "step_up"]


class Parcels:
    """Kept in Redis under the hash of a random token, whose holder is given the content, once."""

    def __init__(self, redis: Redis, secrets: SecretBox, settings: Settings) -> None:
        self._redis = redis
        self._secrets = secrets
        self._prefix = f"{settings.installation_id}:sso"

    def keep(
        self, kind: Kind, content: Mapping[str, Any], *, seconds: int, token: str | None = None
    ) -> str:
        """The token of a new parcel: the one given, or a new one.

        Raises:
            ParcelsUnavailable: Redis does not answer.
        """
        token = token or ids.new_token()
        sealed = self._secrets.seal(json.dumps(content), context=f"sso/{kind}")
        try:
            self._redis.set(self._key(kind, token), sealed, ex=seconds)
        except RedisError as error:
            raise _unavailable(error) from error
        return token

    def take(self, kind: Kind, token: str) -> dict[str, Any] | None:
        """The content, for whoever comes first; None for everybody else.

        Raises:
            ParcelsUnavailable: Redis does not answer.
        """
        try:
            sealed = self._redis.getdel(self._key(kind, token))
        except RedisError as error:
            raise _unavailable(error) from error
        if sealed is None:
            return None
        try:
            content: dict[str, Any] = json.loads(
                self._secrets.open(str(sealed), context=f"sso/{kind}")
            )
        except SecretUnreadable:  # its key was taken out of service meanwhile
            return None
        return content

    def _key(self, kind: Kind, token: str) -> str:
        return f"{self._prefix}:{kind}:{hashlib.sha256(token.encode()).hexdigest()}"


def _unavailable(error: RedisError) -> ParcelsUnavailable:
    logger.warning("Redis is away; nobody signs in with a directory", extra={"reason": str(error)})
    return ParcelsUnavailable("Signing in with a directory does not work just now; try again soon.")
