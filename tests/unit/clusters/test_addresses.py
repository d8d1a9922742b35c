"""Addresses of servers and proxies, and the logins in them."""

from __future__ import annotations

import pytest

from airflow_script_provider.clusters.addresses import Address, basic, proxy_address, server_address

LOGIN = basic("user", "hunter2")
SERVER = "https://api.example.com:6443"


@pytest.mark.parametrize(
    ("server", "is_tls", "address"),
    [
        ("https://a:6443", False, Address("https://a:6443")),
        ("https://a/k8s/clusters/c-1/", False, Address("https://a/k8s/clusters/c-1")),
        ("https://a/?token=hunter2#x", False, Address("https://a")),
        ("10.0.0.1:6443", True, Address("https://10.0.0.1:6443")),
        ("localhost:8080", False, Address("http://localhost:8080")),
        ("https://[::1]:6443", False, Address("https://[::1]:6443")),
        ("https://user:hunter2@a:6443", False, Address("https://a:6443", LOGIN)),
    ],
)
def test_a_server(server: str, is_tls: bool, address: Address) -> None:
    """Its scheme may be missing, its path may not; its login becomes a header (R40)."""
    assert server_address(server, is_tls=is_tls) == address


@pytest.mark.parametrize("server", ["", "ftp://a", "https://user:hunter2/x@a", "https://user:hun#ter2@a"])
def test_a_server_that_is_not_valid_is_not_quoted(server: str) -> None:
    """It may hold a password (R26)."""
    with pytest.raises(ValueError, match=r"^the cluster's server is not a valid URL$"):
        server_address(server, is_tls=True)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://proxy:3128", Address("http://proxy:3128")),
        ("https://proxy:3128/", Address("https://proxy:3128")),
        ("proxy:3128", Address("http://proxy:3128")),
        ("proxy", Address("http://proxy")),
        ("user:hunter2@proxy:3128", Address("http://proxy:3128", LOGIN)),
        ("http://user:hunter2@proxy:3128", Address("http://proxy:3128", LOGIN)),
        ("http://us%40er:p%C3%A9%2F@proxy", Address("http://proxy", basic("us@er", "pé/"))),
        ("http://user@[fd00::1]:3128", Address("http://[fd00::1]:3128", basic("user", ""))),
    ],
)
def test_a_proxy(url: str, address: Address) -> None:
    """As curl takes it, from the kubeconfig and the environment (R40)."""
    assert proxy_address(SERVER, url, {}) == address
    assert proxy_address(SERVER, "", {"HTTPS_PROXY": url}) == address
    assert proxy_address(SERVER, "", {"https_proxy": url, "HTTPS_PROXY": "other"}) == address


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4", "SOCKS5"])
def test_a_socks_proxy_is_refused(scheme: str) -> None:
    """The HTTP client does not speak SOCKS, and would speak HTTP to it (R40)."""
    url = f"{scheme}://user:hunter2@proxy:1080"
    with pytest.raises(ValueError, match=r"^HTTPS_PROXY names a SOCKS proxy, which is not supported"):
        proxy_address(SERVER, "", {"HTTPS_PROXY": url})
    with pytest.raises(ValueError, match=r"^proxy-url of the kubeconfig names a SOCKS proxy"):
        proxy_address(SERVER, url, {})


@pytest.mark.parametrize(
    "url",
    ["user:hun/ter2@proxy", "http://user:hun#ter2@proxy:1", "http://user:hun?ter2@proxy", "user:hunter2@proxy:x",
     "ftp://user:hunter2@proxy", "hunter2://proxy", "http://[hunter2@proxy", "http://user:hunter2@"],
)  # fmt: skip
def test_a_proxy_that_is_not_valid_is_not_quoted(url: str) -> None:
    """Whatever is wrong, its password is in no message (R26)."""
    with pytest.raises(ValueError, match="HTTPS_PROXY is not a valid address of an HTTP proxy") as caught:
        proxy_address(SERVER, "", {"HTTPS_PROXY": url})
    assert "ter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("no_proxy", "server", "is_direct"),
    [
        ("", SERVER, False),
        ("*", SERVER, True),
        ("api.example.com", SERVER, True),
        ("EXAMPLE.com", SERVER, True),
        (".example.com", SERVER, True),
        ("*.example.com", SERVER, True),
        ("other, example.com", SERVER, True),
        ("ample.com", SERVER, False),
        (".example.com", "https://example.com", False),
        ("example.com:6443", SERVER, True),
        ("example.com:443", SERVER, False),
        ("example.com:443", "https://example.com", True),
        ("10.0.0.0/8", "https://10.1.2.3:6443", True),
        ("10.0.0.0/8", "https://11.1.2.3:6443", False),
        ("10.1.2.3", "https://10.1.2.3:6443", True),
        ("10.1.2.3:443", "https://10.1.2.3:6443", False),
        ("2.3", "https://10.1.2.3:6443", False),
        ("fd00::/8", "https://[fd00::1]:6443", True),
        ("fd00::1", "https://[fd00::1]:6443", True),
        ("[fd00::1]:6443", "https://[fd00::1]:6443", True),
        ("a/b,:x,[,,", SERVER, False),
    ],
)
def test_no_proxy(no_proxy: str, server: str, is_direct: bool) -> None:
    """Hosts, domains, ports and ranges of addresses, as for kubectl; a kubeconfig's proxy has no exception (R40)."""
    environ = {"HTTPS_PROXY": "proxy:3128", "NO_PROXY": no_proxy}
    assert (proxy_address(server, "", environ) is None) == is_direct
    assert proxy_address(server, "http://own", environ) == Address("http://own")


def test_each_scheme_has_its_proxy() -> None:
    """HTTP_PROXY is for servers without TLS, and ALL_PROXY is not read, as for kubectl."""
    assert proxy_address("http://a", "", {"HTTPS_PROXY": "proxy", "ALL_PROXY": "proxy"}) is None
    assert proxy_address("http://a", "", {"HTTP_PROXY": "proxy"}) == Address("http://proxy")
