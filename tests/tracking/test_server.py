"""What messages say of the tracking server."""

import mlflow
import pytest

from sslmlflow.tracking.server import address


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://me:geheim@host/db", "postgresql://me:***@host/db"),
        ("https://me:ge:heim@host:5000/x", "https://me:***@host:5000/x"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
    ],
)
def test_no_password_is_shown(uri: str, shown: str) -> None:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        assert address() == shown
    finally:
        mlflow.set_tracking_uri(before)
