"""A conversation with a mail server that stops before the final dot, so that it can be committed.

In SMTP a mail exists from the moment that the line "." ends its text: before, a server that loses
the connection discards what it has; after, it answers for the mail. `hand_over` calls back between
the two, so that what the database says is decided while nothing can have been sent yet.
"""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from heldout.core.errors import HeldoutError, InputError
from heldout.serve.settings import Mail, Settings

_LINE_ENDS = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True)
class Timeouts:
    """In seconds."""

    step: float = 60.0
    """For connecting, and for each answer before the final dot."""
    final: float = 600.0
    """For the answer to the final dot (RFC 5321, 4.5.3.2.6): hasty senders make doubles."""


class ServerError(HeldoutError):
    """The server cannot be talked to, or refuses whatever is sent: nobody's mail goes out."""


class LostError(HeldoutError):
    """The connection broke before the final dot: nothing was sent."""


class UncertainError(HeldoutError):
    """The connection broke after the final dot: the mail may have been sent, or not."""


class TakenError(HeldoutError):
    """The call before the final dot said no: nothing was sent."""


class RefusedError(HeldoutError):
    """The server has said no to one mail.

    Args:
        code: three digits; 4xx for now, 5xx for good.
        said: its words.
    """

    def __init__(self, code: int, said: bytes) -> None:
        self.code = code
        self.lasting = code >= 500
        super().__init__(f"{code} {said.decode('ascii', 'replace')}")


def connect(settings: Settings, timeouts: Timeouts | None = None) -> smtplib.SMTP:
    """Connect, make the connection secret, and log in.

    Certificates are checked against the system's, or those that SSL_CERT_FILE names.

    Raises:
        ServerError: no server there, no TLS, a certificate that is not good, or a login refused.
        InputError: a password that would be sent in clear to another machine.
    """
    mail, timeouts = settings.mail, timeouts or Timeouts()
    if mail.user and mail.security == "none" and not _loopback(mail.host):
        raise InputError(
            "HELDOUT_SMTP_USER with HELDOUT_SMTP_SECURITY=none", "a login that nobody can read",
            "HELDOUT_SMTP_SECURITY=starttls",
        )  # fmt: skip
    try:
        return _opened(mail, _own_name(settings), timeouts.step)
    except ssl.SSLError as error:
        raise ServerError(f"{mail.host}:{mail.port}: {error}") from error
    except smtplib.SMTPResponseException as error:
        said = error.smtp_error
        words = said.decode("ascii", "replace") if isinstance(said, bytes) else str(said)
        raise ServerError(f"{mail.host}:{mail.port}: {error.smtp_code} {words}") from error
    except (OSError, smtplib.SMTPException) as error:
        raise ServerError(f"{mail.host}:{mail.port}: {error}") from error


def hand_over(
    server: smtplib.SMTP, sender: str, to: str, content: bytes,
    before_dot: Callable[[], bool], timeouts: Timeouts | None = None,
) -> None:  # fmt: skip
    """Send one mail to one address.

    Args:
        server: of `connect`.
        sender: address for reports of failure.
        to: address.
        content: the whole message.
        before_dot: called when the server has the text; only after True the mail is made one.
        timeouts: see there.

    Raises:
        RefusedError: the server has said no to this mail; the connection is still good.
        ServerError: it has said no to the sender, or is closing down; nothing was sent.
        LostError: the connection broke, nothing was sent.
        TakenError: `before_dot` was False, nothing was sent, and the connection is closed.
        UncertainError: the connection broke when the mail may have been sent.
    """
    timeouts = timeouts or Timeouts()
    try:
        _envelope(server, sender, to)
        server.send(dotted(content))
    except (OSError, smtplib.SMTPServerDisconnected) as error:
        server.close()
        raise LostError(str(error) or type(error).__name__) from error
    try:
        wanted = before_dot()
    except BaseException:
        server.close()  # without the dot, the server discards the text
        raise
    if not wanted:
        server.close()
        raise TakenError("another sender has it, or nobody wants it any more")
    _finish(server, timeouts)


def dotted(content: bytes) -> bytes:
    r"""Return a text as it stands between DATA and the final dot.

    >>> dotted(b"a\n.b\r\n.\r\n")
    b'a\r\n..b\r\n..\r\n'
    >>> dotted(b"a")
    b'a\r\n'
    """
    lines = _LINE_ENDS.sub(b"\r\n", content)
    if not lines.endswith(b"\r\n"):
        lines += b"\r\n"
    return re.sub(rb"(?m)^\.", b"..", lines)


def goodbye(server: smtplib.SMTP) -> None:
    """Close a connection in good manners, if it still stands."""
    try:
        server.quit()
    except (OSError, smtplib.SMTPException):
        server.close()


def _opened(mail: Mail, own_name: str, timeout: float) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if mail.security == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            mail.host, mail.port, own_name, timeout=timeout, context=context
        )
    else:
        server = smtplib.SMTP(mail.host, mail.port, own_name, timeout=timeout)
    try:
        server.ehlo_or_helo_if_needed()
        if mail.security == "starttls":
            # Raises when the server, or someone between, does not offer it: never in clear.
            server.starttls(context=context)
            server.ehlo()
        if mail.user:
            server.login(mail.user, mail.password)
    except BaseException:
        server.close()
        raise
    return server


def _envelope(server: smtplib.SMTP, sender: str, to: str) -> None:
    code, said = server.mail(sender)
    if code != 250:
        server.close()
        raise ServerError(f"sender {sender}: {code} {said.decode('ascii', 'replace')}")
    code, said = server.rcpt(to)
    if code not in (250, 251):
        _refuse(server, code, said)
    code, said = server.docmd("DATA")
    if code != 354:
        _refuse(server, code, said)


def _finish(server: smtplib.SMTP, timeouts: Timeouts) -> None:
    try:
        if server.sock is not None:
            server.sock.settimeout(timeouts.final)
        server.send(b".\r\n")
        code, said = server.getreply()
        if server.sock is not None:
            server.sock.settimeout(timeouts.step)
    except (OSError, smtplib.SMTPException) as error:
        server.close()
        raise UncertainError(str(error) or type(error).__name__) from error
    if not 200 <= code < 300:
        if code == 421:
            server.close()
        elif not 400 <= code < 600:
            server.close()
            raise UncertainError(f"an answer that means nothing: {code} {said!r}")
        raise RefusedError(code, said)


def _refuse(server: smtplib.SMTP, code: int, said: bytes) -> None:
    if code == 421:
        server.close()
        raise ServerError(f"{code} {said.decode('ascii', 'replace')}")
    if code < 400:
        server.close()
        raise LostError(f"an answer that means nothing: {code} {said!r}")
    server.rset()
    raise RefusedError(code, said)


def _own_name(settings: Settings) -> str:
    # Python would ask the network for this machine's name, which can take long.
    host = urlsplit(settings.origin).hostname or "localhost"
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
