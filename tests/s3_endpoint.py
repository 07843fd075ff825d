"""An S3 endpoint of this machine, for tests: moto's own server."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from waiting import answers, wait_until

from segsweep.orchestrator.launching.ray_session import free_port

KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "s3cret-of-the-bucket"}


@contextmanager
def s3_endpoint(bucket: str) -> Iterator[Any]:
    """A client of it, as boto3 makes them, and a bucket there."""
    import boto3

    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    nowhere = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=nowhere, stderr=nowhere) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until(lambda: answers(f"{address}/moto-api/"), "S3's start")
            client = boto3.client("s3", endpoint_url=address, region_name="us-east-1", **KEYS)
            client.create_bucket(Bucket=bucket)
            yield client
        finally:
            server.terminate()


def use_endpoint(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment by which s3fs finds it as it would any other."""
    for key in [key for key in os.environ if key.startswith("AWS_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("AWS_ENDPOINT_URL", client.meta.endpoint_url)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS["aws_access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS["aws_secret_access_key"])


def check_keys(client: Any, after: str) -> None:
    """Let the endpoint refuse keys that it does not know, after so many questions; "inf": never."""
    plain = {"Content-Type": "text/plain"}
    url = f"{client.meta.endpoint_url}/moto-api/reset-auth"
    urllib.request.urlopen(urllib.request.Request(url, after.encode(), plain, method="POST")).close()
