"""Flask without what this API has no use for and every request would pay for."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TypeVar

from flask import Flask, Request
from flask.sessions import NullSession, SessionInterface
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

_REMEMBERED_PATHS: Final = 512


class NoSessions(SessionInterface):
    """No cookie is read or set."""

    _none: Final = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:  # noqa: ARG002
        return self._none

    def save_session(self, *_: object) -> None:
        """There is nothing to save."""


class Application(Flask):
    """Tokens instead of cookies, no coroutines, and routes by path and method alone."""

    session_interface = NoSessions()

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self.routes = lru_cache(_REMEMBERED_PATHS)(self._route)

    def ensure_sync(self, func: AnyFunction) -> AnyFunction:
        """No view and no hook is a coroutine."""
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        if request is None or "HTTP_UPGRADE" in request.environ:
            return super().create_url_adapter(request)
        return _Adapter(self, request)

    def _route(self, method: str, path: str) -> tuple[Any, Any]:
        adapter = self.url_map.bind("")
        return adapter.match(path, method, return_rule=True)


class _Adapter(MapAdapter):
    """Of a request whose route is looked up: programs ask for the same paths again and again.

    Whoever asks for more than that gets Flask's own adapter.
    """

    def __init__(self, app: Application, request: Request) -> None:
        self._app, self._request = app, request

    def __getattr__(self, name: str) -> Any:
        own = Flask.create_url_adapter(self._app, self._request)
        vars(self).update(vars(own))
        return vars(self)[name]

    def match(self, *asked: Any, **options: Any) -> Any:
        if asked or options != {"return_rule": True}:
            return super().match(*asked, **options)
        try:
            rule, values = self._app.routes(self._request.method, self._request.path)
        except HTTPException:
            return super().match(return_rule=True)
        return rule, {**values}
