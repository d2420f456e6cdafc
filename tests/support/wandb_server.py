"""A server on loopback that speaks the protocol of `wandb`: enough to take runs, artifacts, sweeps and agents."""

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0" * 40
"""An account's key, as it must look."""


@dataclass
class WandbServer:
    """What it was told, and what it answers.

    Attributes:
        fails: status with which every request is refused; 0 for none.
        deleted: whether every run was deleted, so that its id is refused.
        runs: id -> what was told of it.
        artifacts: name -> what was told of it.
        uses: run and artifact.
        sweeps: id -> its configuration, as yaml.
        planned: settings of the runs that an agent is told to make, one a heartbeat; then it is told to exit.
        agents: sweep of every agent, in order.
        beats: run -> whether it ran, of every heartbeat, in order.
        asked: names of operations and paths, in order.
    """

    url: str = ""
    fails: int = 0
    deleted: bool = False
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    uses: set[tuple[str, str]] = field(default_factory=set)
    _asked_for: dict[str, list[str]] = field(default_factory=dict)
    sweeps: dict[str, str] = field(default_factory=dict)
    planned: list[dict[str, Any]] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)
    beats: list[dict[str, bool]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    queries: list[tuple[str, Any]] = field(default_factory=list)

    def run(self, name: str) -> dict[str, Any]:
        return self.runs.setdefault(name, {"config": {}, "summary": {}, "history": []})

    def answer(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        """Return `data` of an operation of GraphQL: everything that it selects, empty but for what is known."""
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        name = found[1] if found else query.split()[0]
        self.asked.append(name)
        self.queries.append((query, given))
        known = getattr(self, f"_{name}", None)
        return merged(blank(selection(query)), known(given) if known is not None else {})

    def stream(self, run: str, body: dict[str, Any]) -> None:
        """Take down what a run streams."""
        own = self.run(run)
        for name, part in body.get("files", {}).items():
            rows = [json.loads(line) for line in part.get("content", []) if line.startswith("{")]
            if name == "wandb-history.jsonl":
                own["history"] += rows
            if name == "wandb-summary.json" and rows:
                own["summary"] = rows[-1]
        if body.get("complete"):
            own["exit"] = body.get("exitcode")

    def _Viewer(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": {"entity": "ward", "username": "ward", "flags": "{}"}}

    def _UpsertBucket(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.run(given["name"])
        run |= {key: own for key, own in given.items() if key not in ("config", "summaryMetrics") and own is not None}
        if given.get("config"):
            run["config"] |= {key: own["value"] for key, own in json.loads(given["config"]).items()}
        project = {"id": "p", "name": given["project"], "entity": {"id": "e", "name": given.get("entity") or "ward"}}
        names = {"id": given["name"], "name": given["name"], "displayName": given.get("displayName") or given["name"]}
        bucket = names | {"sweepName": given.get("sweep") or "", "config": "{}", "project": project}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def _UpsertSweep(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given.get("id") or f"sweep{len(self.sweeps)}"
        self.sweeps[name] = given["config"]
        project = {"name": given["projectName"], "entity": {"name": given.get("entityName") or "ward"}}
        return {"upsertSweep": {"sweep": {"name": name, "project": project}, "configValidationWarnings": []}}

    def _SweepWithRuns(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given["sweep"]
        return {"project": {"sweep": {"id": name, "name": name, "config": self.sweeps[name], "state": "RUNNING"}}}

    def _CreateAgent(self, given: dict[str, Any]) -> dict[str, Any]:
        self.agents.append(given["sweep"])
        return {"createAgent": {"agent": {"id": f"agent{len(self.agents)}"}}}

    def _Heartbeat(self, given: dict[str, Any]) -> dict[str, Any]:
        running = json.loads(given["runState"])
        self.beats.append(running)
        commands: list[dict[str, Any]] = []
        if not running:  # an agent has one run at a time
            commands = [{"type": "exit"}]
            if self.planned:
                own = {name: {"value": value} for name, value in self.planned.pop(0).items()}
                run = f"chosen{len(self.planned)}"
                commands = [{"type": "run", "run_id": run, "program": "clinlm", "args": own}]
        return {"agentHeartbeat": {"agent": {"id": given["id"]}, "commands": json.dumps(commands)}}

    def _ArtifactType(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given["name"].partition(":")[0]
        return {"project": {"artifact": {"artifactType": {"name": self.kinds[name]}} if name in self.kinds else None}}

    def _CreateArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        asked = given["input"]
        name, digest = asked["artifactCollectionName"], asked["digest"]
        self.kinds[name] = asked["artifactTypeName"]
        known = self.artifacts.get(name)
        same = known is not None and known["digest"] == digest and known["state"] == "COMMITTED"
        if not same:
            facts = json.loads(asked.get("metadata") or "{}")
            self.artifacts[name] = {"digest": digest, "state": "PENDING", "facts": facts, "made_by": asked["runName"]}
        state = "COMMITTED" if same else "PENDING"
        self._asked_for.setdefault(name, []).append(asked["runName"])
        return {
            "createArtifact": {"artifact": {"id": name, "state": state, "artifactSequence": {"latestArtifact": None}}}
        }

    def _CreateArtifactManifest(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given.get("artifactID") or given["input"]["artifactID"]
        file = {"id": "f", "name": "manifest", "displayName": "manifest", "uploadHeaders": []}
        manifest = {"id": f"manifest-{name}", "file": file | {"uploadUrl": f"{self.url}/files/{name}/manifest"}}
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def _UpdateArtifactManifest(self, given: dict[str, Any]) -> dict[str, Any]:
        return self._CreateArtifactManifest({"artifactID": "again"}) and {
            "updateArtifactManifest": self._CreateArtifactManifest({"artifactID": "again"})["createArtifactManifest"]
        }

    def _CreateArtifactFiles(self, given: dict[str, Any]) -> dict[str, Any]:
        files = given.get("artifactFiles") or given["input"]["artifactFiles"]
        nodes = [
            {
                "id": own["name"],
                "name": own["name"],
                "displayName": own["name"],
                "uploadUrl": f"{self.url}/files/{own['artifactID']}/{own['name']}",
                "uploadHeaders": [],
                "artifact": {"id": own["artifactID"]},
                "storagePath": None,
                "uploadMultipartUrls": None,
            }
            for own in files
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _CommitArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        name = given.get("artifactID") or given["input"]["artifactID"]
        self.artifacts[name]["state"] = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": name, "digest": self.artifacts[name]["digest"]}}}

    def _UseArtifact(self, given: dict[str, Any]) -> dict[str, Any]:
        asked = given.get("input") or given
        self.uses.add((asked["runName"], asked["artifactID"]))
        return {"useArtifact": {"artifact": {"id": asked["artifactID"], "digest": "", "description": "", "state": ""}}}

    def _CreateRunFiles(self, given: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/files/{given['run']}/{name}"} for name in given["files"]]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}


def selection(query: str) -> dict[str, Any]:
    """Return the fields that a document of GraphQL selects, nested; fragments are merged."""
    text = re.sub(r"\((?:[^()]|\([^()]*\))*\)|#.*", "", query)
    tokens = re.findall(r"\.\.\.|[{}]|[\w$:@]+", text)
    fragments: dict[str, dict[str, Any]] = {}

    def block(at: int) -> tuple[dict[str, Any], int]:
        fields: dict[str, Any] = {}
        last = ""
        while tokens[at] != "}":
            word = tokens[at]
            if word == "{":
                fields[last], at = block(at + 1)
            elif word == "...":
                if tokens[at + 1] == "on":
                    inner, at = block(at + 4)
                    fields |= inner
                else:
                    fields[f"...{tokens[at + 1]}"] = None
                    at += 1
            else:
                last = word.rstrip(":")
                fields.setdefault(last, None)
                if word.endswith(":"):
                    at += 1  # an alias: its field's name is skipped
            at += 1
        return fields, at

    found: dict[str, Any] = {}
    at = 0
    while at < len(tokens):
        start = tokens.index("{", at)
        head = tokens[at:start]
        fields, end = block(start + 1)
        if head and head[0] == "fragment":
            fragments[head[1]] = fields
        else:
            found |= fields
        at = end + 1
    return _spread(found, fragments)


def _spread(fields: dict[str, Any], fragments: dict[str, dict[str, Any]]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for name, inner in fields.items():
        if name.startswith("..."):
            whole |= _spread(fragments.get(name[3:], {}), fragments)
        else:
            whole[name] = None if inner is None else _spread(inner, fragments)
    return whole


def blank(fields: dict[str, Any]) -> dict[str, Any]:
    """Return an answer in which every list is empty, every switch is off, and every text is empty."""
    found: dict[str, Any] = {}
    for name, inner in fields.items():
        if inner is not None:
            found[name] = [] if name in ("edges", "files", "uploadHeaders", "aliases", "tags") else blank(inner)
        elif name == "success":
            found[name] = True
        elif re.search(r"Count$|^total|[Ii]ndex$|^size$|Size$", name):
            found[name] = 0
        else:
            found[name] = "" if name in ("id", "name", "state", "description") else None
    return found


def merged(answer: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """Return an answer with what is known put in."""
    for name, own in known.items():
        before = answer.get(name)
        answer[name] = merged(before, own) if isinstance(own, dict) and isinstance(before, dict) else own
    return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *given: Any) -> None:
        """Say nothing of connections that a process of wandb left when it ended."""


@contextmanager
def serving() -> Iterator[WandbServer]:
    """Serve on a free port of loopback until the block ends."""
    state = WandbServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _send(self, content: Any, status: int = 200) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = self._body()
            if state.fails and ("graphql" in self.path or "file_stream" in self.path):
                state.asked.append(f"refused {self.path}")
                return self._send({"error": "no"}, state.fails)
            if self.path.startswith("/graphql"):
                asked = json.loads(body)
                if state.deleted and "mutation UpsertBucket" in asked["query"]:
                    message = "run was previously created and deleted; try a new run name"
                    return self._send({"errors": [{"message": message}], "data": {"upsertBucket": None}}, 409)
                return self._send({"data": state.answer(asked["query"], asked.get("variables") or {})})
            state.asked.append(self.path)
            if self.path.endswith("/file_stream"):
                state.stream(self.path.split("/")[-2], json.loads(body))
            return self._send({})

        def do_PUT(self) -> None:
            state.files[self.path] = self._body()
            state.asked.append(f"PUT {self.path}")
            self._send({})

        def do_GET(self) -> None:
            state.asked.append(f"GET {self.path}")
            self._send({})

        def log_message(self, *given: Any) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
