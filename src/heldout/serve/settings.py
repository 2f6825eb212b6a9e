"""What the page's operator can set: on the command line, or in the environment for secrets."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from heldout.core.errors import InputError

_SHORTEST_SECRET = 16


@dataclass(frozen=True)
class Mail:
    """The mail server, from HELDOUT_SMTP_* in the environment."""

    host: str = ""
    """HELDOUT_SMTP_HOST; empty: no mail is sent, and the page does not offer it."""
    port: int = 587
    """HELDOUT_SMTP_PORT."""
    user: str = ""
    """HELDOUT_SMTP_USER; empty: no login."""
    password: str = field(default="", repr=False)
    """HELDOUT_SMTP_PASSWORD."""
    security: str = "starttls"
    """HELDOUT_SMTP_SECURITY: starttls, tls or none."""
    sender: str = ""
    """HELDOUT_MAIL_FROM, such as "Heldout <papers@example.org>"."""


@dataclass(frozen=True)
class Settings:
    """Of one page."""

    data: Path
    """Folder of the database, the secret, caches and the runs that visitors start."""
    database: str = ""
    """SQLAlchemy URL; empty: SQLite in `data`."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    """Port to listen on; 0: any that is free."""
    url: str = ""
    """Address under which visitors reach the page, without a slash at the end; empty: the one
    that it listens on."""
    token: str = field(default="", repr=False)
    """HELDOUT_RUN_TOKEN: who knows it may start runs from other machines; empty: loopback only."""
    secret: str = field(default="", repr=False)
    """HELDOUT_SECRET: signs links and forms; empty: made once and kept in `data`."""
    mail: Mail = field(default_factory=Mail)
    """The mail server."""
    proxies: int = 0
    """Proxies in front that add to X-Forwarded-For; 0: the header is not believed."""

    @property
    def origin(self) -> str:
        """Public address without a slash at the end.

        >>> Settings(Path("x"), port=80).origin, Settings(Path("x"), url="https://a.org/p/").origin
        ('http://127.0.0.1:80', 'https://a.org/p')
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.url or f"http://{host}:{self.port}").rstrip("/")

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the database."""
        return self.database or f"sqlite:///{(self.data / 'heldout.db').resolve()}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the page.

        >>> Settings(Path("x")).loopback, Settings(Path("x"), host="0.0.0.0").loopback
        (True, False)
        """
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def default_data() -> Path:
    """Return the folder in which a user's page is kept: XDG's, or ~/.local/share/heldout."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "heldout"


def from_environment(environment: Mapping[str, str], **given: object) -> Settings:
    """Return the settings: what is given, and HELDOUT_* for the rest.

    Args:
        environment: such as `os.environ`.
        given: fields of `Settings`; None stands for "not given".

    Raises:
        InputError: a port, an address, a URL or a secret that cannot be used.

    >>> mail = {"HELDOUT_SMTP_HOST": "mail", "HELDOUT_MAIL_FROM": "papers@example.org"}
    >>> from_environment(mail, data=Path("x")).mail.host
    'mail'
    """

    def of(name: str, default: str = "") -> str:
        return environment.get(f"HELDOUT_{name}", default).strip()

    mail = Mail(
        of("SMTP_HOST"), _port("HELDOUT_SMTP_PORT", of("SMTP_PORT", "587")), of("SMTP_USER"),
        environment.get("HELDOUT_SMTP_PASSWORD", ""), of("SMTP_SECURITY", "starttls"),
        of("MAIL_FROM"),
    )  # fmt: skip
    if mail.security not in ("starttls", "tls", "none"):
        raise InputError(
            f"HELDOUT_SMTP_SECURITY={mail.security}", "starttls, tls or none", "starttls"
        )
    if mail.host and "@" not in mail.sender:
        raise InputError(
            f"HELDOUT_MAIL_FROM={mail.sender!r} beside a mail server", "the sender's address",
            "HELDOUT_MAIL_FROM='Heldout <papers@example.org>'",
        )  # fmt: skip
    values = {
        "data": default_data(), "database": of("DATABASE"), "url": of("URL"),
        "token": of("RUN_TOKEN"), "secret": of("SECRET"), "mail": mail,
        "proxies": _number("HELDOUT_PROXIES", of("PROXIES") or "0", 16, "proxies in front", "1"),
    }  # fmt: skip
    made = Settings(**{**values, **{k: v for k, v in given.items() if v is not None}})  # type: ignore[arg-type]
    _checked(made)
    return made


def data_folder(settings: Settings) -> Path:
    """Return the data folder, which is made if it is not there.

    Raises:
        InputError: it is a file, or cannot be made.
    """
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(settings.data, error) from error
    return settings.data


def secret_of(settings: Settings) -> bytes:
    """Return the page's secret; one that is not set is made once and kept beside the database.

    Raises:
        InputError: a secret that is too short to keep anything, or a folder that is read-only.
    """
    if settings.secret:
        return settings.secret.encode()
    path = data_folder(settings) / "secret"
    try:
        # Exclusive: of two that start together, one makes it and both read it.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    except OSError as error:
        raise _unusable(settings.data, error) from error
    else:
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
    try:
        found = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}, which cannot be read ({getattr(error, 'strerror', None) or 'no text'})",
            "the page's secret", "delete it, or set HELDOUT_SECRET",
        ) from error  # fmt: skip
    if len(found) < _SHORTEST_SECRET:
        raise InputError(f"{path} with {len(found)} characters", "a secret", f"delete {path}")
    return found.encode()


def _unusable(folder: Path, error: OSError) -> InputError:
    why = "a file has that name" if isinstance(error, FileExistsError) else error.strerror
    return InputError(f"folder {folder} ({why})", "one that can be written", "--data DIR")


def _number(name: str, value: str, most: int, what: str, hint: str) -> int:
    # "²" is a digit too, and a number of thousands of digits takes long to read.
    if not (value.isascii() and value.isdigit() and len(value) < 7 and int(value) <= most):
        raise InputError(f"{name}={value}", f"{what}, 0 to {most}", hint)
    return int(value)


def _port(name: str, value: str) -> int:
    return _number(name, value, 65535, "a port", "8000")


def _checked(made: Settings) -> None:
    _port("--port", str(made.port))
    if not _is_origin(made.origin):
        raise InputError(
            f"url {made.url!r}" if made.url else f"--host {made.host!r}",
            "http(s)://host[:port][/path]" if made.url else "a name or address of this machine",
            "https://papers.example.org" if made.url else "127.0.0.1",
        )
    _long_enough("HELDOUT_SECRET", made.secret)
    _long_enough("HELDOUT_RUN_TOKEN", made.token)


def _is_origin(text: str) -> bool:
    # It stands in headers and pages: nothing in it may need to be escaped.
    plain = all("!" <= c <= "~" and c not in "\"'<>\\^`{|}" for c in text)
    try:
        parts = urlsplit(text)
        whole = bool(parts.hostname) and (parts.port or 0) < 65536  # asking raises as well
    except ValueError:
        return False
    more = parts.query or parts.fragment or "@" in parts.netloc or text.endswith(("?", "#"))
    return plain and whole and parts.scheme in ("http", "https") and not more


def _long_enough(name: str, secret: str) -> None:
    if secret and len(secret) < _SHORTEST_SECRET:
        raise InputError(
            f"{name} of {len(secret)} characters", f"{_SHORTEST_SECRET} or more",
            "python -c 'import secrets; print(secrets.token_hex(32))'",
        )  # fmt: skip
