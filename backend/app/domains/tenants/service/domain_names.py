"""Which domains a tenant can have at all, and how they are written."""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

import idna

from app.domains.tenants.errors import BadDomain
from app.domains.tenants.models import CHALLENGE_LABEL
from app.settings import Settings

# RFC 1035, section 2.3.4, in text; the challenge has to fit in front.
_LONGEST: Final = 253 - len(CHALLENGE_LABEL) - 1
# RFC 6761 and RFC 9476, and what ICANN reserved for private use: nobody owns a name there.
_SPECIAL: Final = frozenset(
    {"alt", "arpa", "home", "internal", "invalid", "lan", "local", "localhost", "onion"}
)
# Where countries register: co.uk, com.au. publicsuffix.org's list is longer.
_REGISTRIES: Final = frozenset(
    {"ac", "co", "com", "ed", "edu", "go", "gob", "gov", "mil", "ne", "net", "or", "org", "sch"}
)
# Everybody has an address there, and nobody owns the domain for all of them.
_OF_MAIL: Final = frozenset(
    {
        *("aol.com", "fastmail.com", "gmail.com", "gmx.com", "gmx.de", "gmx.net", "googlemail.com"),
        *("hey.com", "hotmail.com", "hotmail.fr", "icloud.com", "laposte.net", "libero.it"),
        *("live.com", "mac.com", "mail.com", "mail.ru", "me.com", "msn.com", "naver.com"),
        *("onmicrosoft.com", "orange.fr", "outlook.com", "proton.me", "protonmail.com", "qq.com"),
        *("t-online.de", "tutanota.com", "web.de", "yahoo.com", "yandex.com", "yandex.ru"),
        *("ymail.com", "zoho.com", "126.com", "163.com"),
    }
)
_COUNTRY_CODE_LENGTH: Final = 2


def normalised(name: str, settings: Settings) -> str:
    """The domain in lower-case ASCII (UTS #46, IDNA 2008), without a dot at its end.

    Raises:
        BadDomain: it is none, an address, special, reserved, ours, or many people's.
    """
    try:
        domain = idna.encode(name.strip().rstrip("."), uts46=True, std3_rules=True).decode()
    except (idna.IDNAError, UnicodeError):
        raise _bad("Give a domain name, such as files.example.com.") from None
    if len(domain) > _LONGEST:
        raise _bad(f"A domain has at most {_LONGEST} characters.")
    labels = domain.split(".")
    # No top level begins with a digit: what does is an address, or taken for one (WHATWG URL).
    if len(labels) == 1 or labels[-1] in _SPECIAL or not labels[-1][0].isalpha():
        raise _bad("This name is not one that anybody owns in the DNS.")
    if _is_ours(domain, settings):
        raise _bad("This domain is this product's own.")
    if domain in _OF_MAIL or is_public_suffix(labels, settings.public_suffix_list):
        raise _bad("Everybody can have a domain in this one; give yours.")
    return domain


def is_public_suffix(labels: list[str], path: Path | None) -> bool:
    """Whether people register their own domains directly below this one.

    Without publicsuffix.org's list only the usual registries of countries are known; who cannot
    write into the domain's DNS cannot prove it all the same.
    """
    if path is None:
        in_country = len(labels) == 2 and len(labels[-1]) == _COUNTRY_CODE_LENGTH  # noqa: PLR2004
        return in_country and labels[0] in _REGISTRIES
    rules = _rules(path)
    parent = ".".join(["*", *labels[1:]])
    domain = ".".join(labels)
    return f"!{domain}" not in rules and (domain in rules or parent in rules)


@cache
def _rules(path: Path) -> frozenset[str]:
    """The list's rules (https://github.com/publicsuffix/list/wiki/Format), in lower-case ASCII."""
    return frozenset(_in_ascii(path.read_text(encoding="utf-8").splitlines()))


def _in_ascii(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        rule = line.split(maxsplit=1)[0] if line.strip() else "//"
        if not rule.startswith("//"):
            mark = rule[: len(rule) - len(rule.lstrip("!*."))]
            yield mark + rule.removeprefix(mark).encode("idna").decode().lower()


def _is_ours(domain: str, settings: Settings) -> bool:
    ours = filter(None, (settings.public_host, settings.tenant_base_domain))
    return any(domain == own or domain.endswith(f".{own}") for own in ours)


def _bad(message: str) -> BadDomain:
    return BadDomain(message, errors={"domain": [message]})
