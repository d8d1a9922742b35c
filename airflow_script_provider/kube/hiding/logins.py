"""A line without the logins and queries of URLs, which are recognised by their form."""

from __future__ import annotations

import re

from airflow_script_provider.kube.causes.patterns import compiled_later

MASK = "***"
_ANY_HOST = "@h:1"

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
_URL = compiled_later(rf"(?P<scheme>{_SCHEME})(?P<rest>\S+)")
_URL_WITHOUT_LOGIN = compiled_later(rf"(?=(?P<scheme>{_SCHEME})(?P<rest>[^\s@]*)(?:\s|$))")
_AUTHORITY = compiled_later(r"[^/?#]*")
# Hosts with their ports, and what closes a sentence or a quotation after them.
_HOSTS = compiled_later(r"(?:\[[^\]]*\]|[^:,\[\]]*)(?::\d*)?(?:,(?:\[[^\]]*\]|[^:,\[\]]*)(?::\d*)?)*[^\w\s]*")
_DIGEST = "sha256:[0-9a-f]{12}"
# What a URL begins with; USER:PASSWORD@HOST, as in the DSNs of Go's drivers; USER/PASSWORD@HOST,
# Oracle's form. An image's digest, a package's version and a path have an @ as well.
_BARE_LOGIN = compiled_later(
    rf"""(?P<url>{_SCHEME}[^\s/?\#]*)
    |(?<![^\s:/@'"])[^\s:/@'"]+:(?!//)\S+@(?!{_DIGEST})
    |(?<![^\s:'"])(?=[^\s:/@'"]*\w)[^\s:/@'"]+/(?:
        (?>(?:"[^"]*"|[^\s/]+)@)(?=[\w"(\[])(?!v?\d+(?:\.\d+){{0,2}}(?:[-+][\w.+-]*)?(?![\w./]|:\d)|{_DIGEST})
        |\S+@(?=//|[(\[]|[\w.-]+:\d)(?!{_DIGEST}))""",
    re.VERBOSE,
)
# A query behind a path or a host; without an equals sign only where an HTTP client names it, because
# a path with wildcards has a question mark as well.
_BARE_QUERY = compiled_later(
    r"""((?:/|(?<![\w.-])[\w-]+(?:(?:\.[\w-]+)+(?::\d+)?|:\d+)(?=\?\w))[^\s?]*)\?[^\s?=]*=\S*
    |(\b(?:[Uu][Rr][Ll]:?|GET|HEAD|POST|PUT|PATCH|DELETE)[ ]["']?[^\s?]+)\?\S+""",
    re.VERBOSE,
)
# The login of a URL that another one has as a parameter, perhaps encoded twice.
_ENCODED_LOGIN = compiled_later(r"(?i:(%(?:25)*3A(?:%(?:25)*2F){2})(?:(?!%(?:25)*(?:2F|3F|23))[^\s/?#&])*(%(?:25)*40))")


def without_logins(line: str) -> str:
    """The line without logins and queries of URLs."""
    line = _URL.sub(lambda url: url["scheme"] + _public_rest(url["rest"]), _without_torn_login(line))
    line = _BARE_LOGIN.sub(lambda found: found["url"] or f"{MASK}@", line)
    line = _ENCODED_LOGIN.sub(rf"\1{MASK}\2", line)
    return _BARE_QUERY.sub(lambda found: f"{found[1] or found[2]}?…", line)


def without_open_login(line: str) -> str:
    """The line, which was cut, without its logins, of which the last may lack its host."""
    return without_logins(line + _ANY_HOST).removesuffix(_ANY_HOST)


def _without_torn_login(line: str) -> str:
    """The line without the login of a URL whose password has a space.

    What stands behind its user is not a port, and the ``@`` stands in a later word.
    """
    for url in _URL_WITHOUT_LOGIN.finditer(line):
        at = line.rfind("@", url.end("rest"))
        if at >= 0 and not _are_hosts(url["rest"]):
            return line[: url.end("scheme")] + MASK + line[at:]
    return line


def _public_rest(rest: str) -> str:
    """What follows the scheme, without login, query and fragment.

    A password may have slashes and at signs. In doubt more is hidden.
    """
    _, at, behind = rest.rpartition("@")
    if at and ("@" in _authority(rest) or not _are_hosts(rest)):
        rest = f"{MASK}@{behind}"
    elif not _are_hosts(rest):  # a password whose host is missing, or options of JDBC
        authority = _authority(rest)
        rest = f"{authority.partition(':')[0]}:{MASK}{rest[len(authority) :]}"
    return re.sub(r"[?#].*", "?…", rest)


def _are_hosts(rest: str) -> bool:
    """Whether a URL has only hosts and ports after its scheme, or a login with its host."""
    return _HOSTS.fullmatch(_authority(rest).rpartition("@")[2]) is not None


def _authority(rest: str) -> str:
    found = _AUTHORITY.match(rest)
    return found[0] if found else ""
