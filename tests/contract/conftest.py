"""The option that rewrites the pinned values."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-values",
        action="store_true",
        help="rewrite values.toml and show what moved",
    )
