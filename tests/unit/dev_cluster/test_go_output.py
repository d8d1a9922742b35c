"""What Go's commands print about a build."""

from __future__ import annotations

import pytest
from go_output import is_download, is_package, required_modules, to_compile


def test_packages_in_gos_cache_are_not_counted() -> None:
    """`go build -v` does not print them."""
    listing = "unsafe\tfalse\t\nfmt\tfalse\t\nos\ttrue\tbuild ID mismatch\nk8s.io/api\ttrue\tstale dependency: os\n"
    assert to_compile(listing) == {"os", "k8s.io/api"}


def test_a_program_that_only_needs_linking_is_not_counted() -> None:
    """Go calls it stale because it is not installed."""
    assert to_compile("cluster/pause\ttrue\tnot installed but available in build cache\n") == set()


def test_downloads_are_recognised() -> None:
    """Go prints one line for each module."""
    assert is_download("go: downloading k8s.io/api v0.34.4")
    assert not is_download("go: k8s.io/api@v0.34.4: missing go.sum entry")


@pytest.mark.parametrize("line", ["fmt", "k8s.io/api/core/v1", "vendor/golang.org/x/net/idna", "gopkg.in/yaml.v3"])
def test_packages_are_recognised(line: str) -> None:
    """`go build -v` prints one import path per line."""
    assert is_package(line)


@pytest.mark.parametrize("line", ["", "# cluster", "./main.go:9:2: undefined: x", "go: updates to go.mod needed"])
def test_messages_are_not_packages(line: str) -> None:
    """A failure has to show them."""
    assert not is_package(line)


def test_modules_are_counted_in_blocks_and_single_lines() -> None:
    """Both forms of `require` occur; `replace` and comments do not count."""
    go_mod = """module cluster

go 1.24.0

require example.org/one v1.0.0

require (
	example.org/two v0.1.0
	// a comment
	example.org/three/v3 v3.0.0-20240101000000-abcdefabcdef // indirect
)

replace example.org/two => example.org/four v0.2.0
"""
    assert required_modules(go_mod) == 3
