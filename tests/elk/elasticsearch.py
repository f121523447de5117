"""A real Elasticsearch node of Maven's jars, started by two small classes in ``node``."""

from __future__ import annotations

import os
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import orjson

from streamer.jars import Jars
from streamer.local import free_ports
from tests.deploy.parts import Part, program

FOLDER = Path(__file__).parent
# The lock is written anew by ``ELASTICSEARCH.update_digests()``.
ELASTICSEARCH = Jars(
    "Elasticsearch",
    "org.elasticsearch:elasticsearch:8.17.2+org.elasticsearch.plugin:transport-netty4:8.17.2",
    41,
    FOLDER / "elasticsearch-jars.sha256",
)
JDK = "default-jdk-headless"
Document = dict[str, Any]


class Elasticsearch(Part):
    """One empty node. It lacks what is a module: ILM, ingest processors, ``/``."""

    def __init__(self, scratch: Path) -> None:
        compiler, java = program("javac", package=JDK), program("java", package=JDK)
        jars = os.pathsep.join(map(str, ELASTICSEARCH.fetch(print)))
        classes, home = scratch / "classes", scratch / "elasticsearch"
        sources = list(map(str, (FOLDER / "node").rglob("*.java")))
        subprocess.run([compiler, "-proc:none", "-cp", jars, "-d", str(classes), *sources], check=True)
        port, transport = free_ports(2)
        super().__init__(
            [
                *(java, "-Xms256m", "-Xmx512m", f"-Des.path.home={home}"),
                *("-cp", f"{classes}{os.pathsep}{jars}", "org.elasticsearch.node.TestNode"),
                *(str(home), str(port), str(transport)),
            ],
            port,
            scratch,
            "/_cluster/health",
        )

    def tell(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """The status and the JSON of what is answered."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, orjson.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, orjson.loads(error.read())

    def create(self, stream: str, documents: dict[str, Document]) -> list[int]:
        """What became of each in one bulk: 201 is created, 409 was there, 400 is refused."""
        lines = [
            orjson.dumps(line)
            for identity, document in documents.items()
            for line in ({"create": {"_id": identity}}, document)
        ]
        status, answer = self.tell("POST", f"/{stream}/_bulk?refresh=true", b"\n".join(lines) + b"\n")
        assert status == 200, answer
        return [each["create"]["status"] for each in answer["items"]]

    def found(self, stream: str, query: Document | None = None) -> dict[str, Document]:
        """All documents (at most 10,000) by their id; none where the stream has not begun."""
        body = orjson.dumps({"size": 10_000, "query": query or {"match_all": {}}})
        if self.tell("POST", f"/{stream}/_refresh", b"")[0] == 404:
            return {}
        status, answer = self.tell("POST", f"/{stream}/_search", body)
        assert status == 200, answer
        return {hit["_id"]: hit["_source"] for hit in answer["hits"]["hits"]}
