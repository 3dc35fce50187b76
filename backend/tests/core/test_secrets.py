"""Secrets at rest: sealed for one context, readable after a rotation of keys."""

import pytest
from cryptography.fernet import Fernet

from app.core.secrets import FernetBox, SecretUnreadable

OLD, NEW, FOREIGN = (Fernet.generate_key().decode() for _ in range(3))


def test_another_context_cannot_open_it() -> None:
    box = FernetBox([NEW])
    sealed = box.seal("a login", context="acme")
    for context in ("globex", "", "ACME", "acme ", "acm", "acmee"):
        with pytest.raises(SecretUnreadable):
            box.open(sealed, context=context)
    assert box.open(sealed, context="acme") == "a login"


@pytest.mark.parametrize("secret", ["", "日本", 'a"b', "x" * 100_000, '["globex","other"]', "\x00"])
def test_what_is_sealed_comes_back(secret: str) -> None:
    box = FernetBox([NEW])
    sealed = box.seal(secret, context="acme")
    assert box.open(sealed, context="acme") == secret
    assert not secret or secret not in sealed
    assert box.seal(secret, context="acme") != sealed


def test_context_and_secret_cannot_be_shifted() -> None:
    box = FernetBox([NEW])
    sealed = box.seal('x", "secret', context="acme")
    with pytest.raises(SecretUnreadable):
        box.open(sealed, context='acme", "x')


def test_the_first_key_seals_and_all_of_them_open() -> None:
    sealed = FernetBox([OLD]).seal("a login", context="acme")
    rotating = FernetBox([NEW, OLD])
    assert rotating.open(sealed, context="acme") == "a login"
    renewed = rotating.seal("a login", context="acme")
    assert FernetBox([NEW]).open(renewed, context="acme") == "a login"
    with pytest.raises(SecretUnreadable):
        FernetBox([NEW]).open(sealed, context="acme")


@pytest.mark.parametrize("sealed", ["", "x", "日本", "gAAAAA", "\x00", "=" * 100])
def test_what_was_not_sealed_here(sealed: str) -> None:
    with pytest.raises(SecretUnreadable) as raised:
        FernetBox([NEW]).open(sealed, context="acme")
    assert raised.value.status == 503


def test_a_changed_ciphertext() -> None:
    sealed = FernetBox([FOREIGN]).seal("a login", context="acme")
    with pytest.raises(SecretUnreadable):
        FernetBox([NEW]).open(sealed, context="acme")
    own = FernetBox([NEW]).seal("a login", context="acme")
    for place in (0, 10, 40, len(own) - 3):
        changed = own[:place] + ("A" if own[place] != "A" else "B") + own[place + 1 :]
        with pytest.raises(SecretUnreadable):
            FernetBox([NEW]).open(changed, context="acme")


@pytest.mark.parametrize("content", [b"", b"[]", b"1", b'["acme"]', b'{"a": 1}', b"not JSON"])
def test_what_the_key_sealed_for_something_else(content: bytes) -> None:
    sealed = Fernet(NEW).encrypt(content).decode()
    with pytest.raises(SecretUnreadable):
        FernetBox([NEW]).open(sealed, context="acme")


def test_an_error_tells_nothing_of_the_secret() -> None:
    box = FernetBox([NEW])
    sealed = box.seal("hunter2", context="acme")
    with pytest.raises(SecretUnreadable) as raised:
        box.open(sealed, context="globex")
    assert "hunter2" not in str(raised.value)
    assert "acme" not in str(raised.value)
