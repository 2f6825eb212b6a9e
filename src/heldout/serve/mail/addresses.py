"""E-mail addresses, as far as mail servers take them."""

from __future__ import annotations

import re
from email.headerregistry import Address

from heldout.core.errors import InputError

LONGEST, LONGEST_LOCAL, LONGEST_DOMAIN = 254, 64, 253
_ATOMS = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.ASCII)
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


def checked(text: str, own: bool = False) -> str:
    """Return an address in lower case, with its domain in ASCII.

    The syntax is RFC 5321's without what nearly no server takes: quoted local parts, addresses in
    brackets, letters beyond ASCII before the @. Names, comments and lists are refused.

    Args:
        text: what somebody wrote.
        own: whether it is the operator's, which may be in a domain without a dot.

    Raises:
        InputError: no such address.

    >>> checked(" Ada@Example.ORG "), checked("ada@bücher.example")
    ('ada@example.org', 'ada@xn--bcher-kva.example')
    """
    plain = text.strip(" ")
    if len(plain) > LONGEST or not plain:
        raise _error(text, f"an address of at most {LONGEST} characters")
    local, at, domain = plain.rpartition("@")
    local = local.lower()
    if not at or not _ATOMS.fullmatch(local):
        raise _error(text, "one address, such as name@example.org")
    if len(local) > LONGEST_LOCAL:
        raise _error(text, f"at most {LONGEST_LOCAL} characters before the @")
    made = f"{local}@{_domain(text, domain, own)}"
    if len(made) > LONGEST:
        raise _error(text, f"an address of at most {LONGEST} characters")
    return made


def sender(text: str) -> Address:
    """Return the operator's own address with the name before it.

    Raises:
        InputError: no such address.

    >>> sender('Heldout <Papers@example.org>')
    Address(display_name='Heldout', username='papers', domain='example.org')
    """
    if any(ord(c) < 32 for c in text):
        raise _error(text, "an address in one line")
    name, bracket, rest = text.strip().rpartition("<")
    plain = rest.removesuffix(">") if bracket else rest
    local, _, domain = checked(plain, own=True).rpartition("@")
    return Address(name.strip().strip('"'), local, domain)


def _domain(text: str, domain: str, own: bool) -> str:
    import idna  # late: only who subscribes needs it

    if any(ord(c) <= 32 or ord(c) == 127 for c in domain):
        raise _error(text, "one address, such as name@example.org")
    try:
        made = idna.encode(domain, uts46=True).decode().lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise _error(text, "a domain that can exist, such as example.org") from error
    labels = made.split(".")
    good = len(labels) > 1 - own and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()
    if not good or len(made) > LONGEST_DOMAIN:
        raise _error(text, "a domain that can exist, such as example.org")
    return made


def _error(text: str, expected: str) -> InputError:
    shown = "".join(c if c.isprintable() else "?" for c in text[:60])
    return InputError(f"e-mail address {shown!r}", expected, "name@example.org")
