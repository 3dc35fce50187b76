"""Sealed streams: whole and unchanged, or refused."""

import io
import os

import pytest

from app.core.sealed_streams import KeyMissing, StreamUnreadable, Vault

MIB = 1024**2
HEADER = 48
SEALED_CHUNK = MIB + 16


@pytest.fixture(scope="module")
def vault() -> Vault:
    return Vault([os.urandom(32)])


def seal(vault: Vault, plain: bytes, context: str = "here") -> bytes:
    pieces = [plain[place : place + 300_000] for place in range(0, len(plain), 300_000)]
    return b"".join(vault.seal(pieces, context=context))


def unseal(vault: Vault, sealed: bytes, context: str = "here") -> bytes:
    return b"".join(vault.open(io.BytesIO(sealed), context=context))


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB + 5])
def test_what_was_sealed_comes_back(vault: Vault, size: int) -> None:
    plain = os.urandom(size)
    sealed = seal(vault, plain)
    assert unseal(vault, sealed) == plain
    assert size < 64 or plain[:64] not in sealed
    assert seal(vault, plain) != sealed


def test_any_change_is_noticed(vault: Vault) -> None:
    sealed = seal(vault, os.urandom(2 * MIB + 10))
    first, second, last = (
        sealed[HEADER : HEADER + SEALED_CHUNK],
        sealed[HEADER + SEALED_CHUNK : HEADER + 2 * SEALED_CHUNK],
        sealed[HEADER + 2 * SEALED_CHUNK :],
    )
    header = sealed[:HEADER]
    for hostile in (
        header + second + first + last,
        header + first + last,
        header + first + first + second + last,
        header + first + second,  # cut off where a chunk ends
        header + first,
        header,
        sealed[:-1],
        sealed + b"x",
        sealed + last,
        b"",
        b"no sealed bytes at all" * 100,
        sealed[:20] + bytes([sealed[20] ^ 1]) + sealed[21:],
        *(sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
          for place in (0, HEADER, HEADER + MIB, len(sealed) - 1)),
    ):  # fmt: skip
        with pytest.raises(StreamUnreadable):
            unseal(vault, hostile)
    with pytest.raises(StreamUnreadable):
        unseal(vault, sealed, context="elsewhere")


def test_keys_are_rotated_and_a_lost_one_is_named() -> None:
    old, new = os.urandom(32), os.urandom(32)
    sealed = seal(Vault([old]), b"plans")
    assert unseal(Vault([new, old]), sealed) == b"plans"
    with pytest.raises(KeyMissing):
        unseal(Vault([new]), sealed)
    assert unseal(Vault([new]), seal(Vault([new, old]), b"plans")) == b"plans"
