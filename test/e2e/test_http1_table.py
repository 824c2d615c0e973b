"""The table of tricky HTTP/1.1 requests through a real agent: accepted, refused, never smuggled."""

import os
import pathlib

import pytest
from mesh import HERE, Mesh

CASES = pathlib.Path(os.environ.get("WEFT_CORPUS", HERE.parent.parent.parent / "shared" / "corpus")) / "http1" / "requests.jsonl"
RUNNER = pathlib.Path(__file__).with_name("http1_cases.py")


def test_every_row_of_the_table():
    if not CASES.exists() and os.environ.get("CI") != "true":
        pytest.skip(f"the corpus is not here ({CASES}); the project's own rows are in test/unit/http1_corpus_test.c")
    with Mesh() as mesh:
        mesh.server()
        h = mesh.host("web").service("svc", 8080, protocol="http").join()
        # The host's own address: taken inbound as if a stranger called, then handed to the origin of the runner.
        done = h.run("/usr/bin/python3", RUNNER, CASES, h.ip4, "8080", "8080", seconds=120)
    assert done.stdout.endswith("215 right, 0 wrong\n"), done.stdout + done.stderr
