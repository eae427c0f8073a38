"""A real server of OpenAI's chat completions on loopback that behaves as asked, and badly where asked.

What it says follows from the question alone, so that equal runs get equal answers. It keeps its own log.
"""

from __future__ import annotations

import hashlib
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-Sesame-0pen-7f3a9c2e51"
MODEL = "awkward-1"

Manners = Callable[[int, int, int], str]
"""(number of the question by its arrival, how often it was asked before, turns of the conversation) -> behaviour."""


def good(number: int, before: int, turns: int) -> str:
    return "answer"


def of_all_kinds(number: int, before: int, turns: int) -> str:
    """Every second question meets trouble, each kind in turn: most of it passes, or is mended when told; some never."""
    draw = number // 2 % 21 if number % 2 else 99
    for_good = {0: "refuse", 1: "wrong enum", 2: "garbage", 3: "filtered"}
    first_turn = {4: "garbage", 5: "wrong enum", 6: "wrong enum", 7: "too large", 8: "too large", 9: "cut off"}
    once = {
        10: "429", 11: "429", 12: "500", 13: "500", 14: "hang", 15: "trickle", 16: "truncate", 17: "drop",
        18: "not json", 19: "503",
    }  # fmt: skip
    always = {20: "500"}
    if draw in for_good:
        return for_good[draw]
    if draw in first_turn:
        return first_turn[draw] if turns == 1 else "answer"
    if draw in always:
        return always[draw]
    return once[draw] if draw in once and before == 0 else "answer"


@dataclass
class Request:
    """One line of the server's log."""

    question: str
    turns: int
    behaviour: str
    began: float
    body: dict[str, Any]
    ended: float = 0.0
    """When all of the answer was sent; 0 where it never was."""


@dataclass
class AwkwardServer:
    manners: Manners = good
    forms: Sequence[str] = ("json_schema", "json_object", "text")
    """Response formats that it knows."""
    hold_after: int | None = None
    """Answers to give before it falls silent, until `release`."""
    key: str = KEY
    think_s: float = 0.0
    log: list[Request] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self.lock, self.released, self.answered = threading.Lock(), threading.Event(), 0
        self.numbers: dict[str, int] = {}

    def release(self) -> None:
        self.hold_after = None
        self.released.set()

    def completions(self) -> list[Request]:
        with self.lock:
            return list(self.log)

    def answers(self) -> Counter[tuple[str, int]]:
        """How often each question was answered well, by its turns."""
        good = [r for r in self.completions() if r.behaviour == "answer" and r.ended]
        return Counter((r.question, r.turns) for r in good)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with the usual five, a connection that many make at once can time out unseen


@contextmanager
def awkward_server(manners: Manners = good, **options: Any) -> Iterator[AwkwardServer]:
    """Up for the length of the block."""
    server = AwkwardServer(manners, **options)
    handler = type("Handler", (_Handler,), {"of": server})
    http = _Server(("127.0.0.1", 0), handler)
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.release()
        http.shutdown()
        http.server_close()


class _Handler(BaseHTTPRequestHandler):
    of: AwkwardServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        if self._let_in():
            self._say(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._let_in():
            return
        if body["model"] != MODEL:
            self._say(404, {"error": {"message": f"The model `{body['model']}` does not exist."}})
            return
        form = body.get("response_format", {"type": "text"})["type"]
        if form not in self.of.forms:
            self._say(400, {"error": {"message": f"Unsupported parameter: response_format.type '{form}'"}})
            return
        with suppress(ConnectionError):
            self._complete(body)

    def _let_in(self) -> bool:
        if self.headers["Authorization"] == f"Bearer {self.of.key}":
            return True
        self._say(401, {"error": {"message": f"Incorrect API key provided: {self.headers['Authorization']}"}})
        return False

    def _complete(self, body: dict[str, Any]) -> None:
        messages, of = body["messages"], self.of
        asked = json.dumps([messages[1], body.get("seed")])
        question, turns = hashlib.sha256(asked.encode()).hexdigest(), sum(m["role"] == "user" for m in messages)
        with of.lock:
            before = sum(r.question == question and r.turns == turns for r in of.log)
            number = of.numbers.setdefault(question, len(of.numbers))
            behaviour = of.manners(number, before, turns)
            request = Request(question, turns, behaviour, time.monotonic(), body)
            of.log.append(request)
            of.answered += behaviour == "answer"
            if of.hold_after is not None and of.answered > of.hold_after:
                request.behaviour = behaviour = "hold"
        time.sleep(of.think_s)
        self._behave(behaviour, body, json.loads(messages[1]["content"]), question)
        request.ended = time.monotonic()

    def _behave(self, behaviour: str, body: dict[str, Any], facts: dict[str, Any], question: str) -> None:
        lesion = lesion_for(facts, random.Random(question))
        match behaviour:
            case "answer":
                self._chat(json.dumps(lesion), body)
            case "garbage":
                self._chat('Certainly! Here is a lesion: {"lesion_type": "cyst", "shape": [', body)
            case "wrong enum":
                self._chat(json.dumps(lesion | {"density": "rather dark"}), body)
            case "too large":
                huge = {axis: 4 * mm for axis, mm in facts["organ_extent_mm"].items()}
                self._chat(json.dumps(lesion | {"size_mm": huge}), body)
            case "cut off":
                self._chat(json.dumps(lesion)[:40], body, ending="length")
            case "refuse":
                self._chat(None, body, refusal="I can't help with that.")
            case "filtered":
                self._say(400, {"error": {"code": "content_filter", "message": "The response was filtered"}})
            case "429":
                self._say(429, {"error": {"message": "Rate limit reached"}}, {"Retry-After": "1"})
            case "500" | "503":
                self._say(int(behaviour), {"error": {"message": f"trouble, {self.headers['Authorization']}"}})
            case "not json":
                self._send(200, b"<html>Bad Gateway</html>")
            case "hang":
                time.sleep(3600)
            case "hold":
                self.of.released.wait()
                self.connection.shutdown(socket.SHUT_RDWR)
            case "401":
                self._say(401, {"error": {"message": f"Key revoked: {self.headers['Authorization']}"}})
            case "trickle":
                self._send(200, b"x" * 3600, pause_s=1.0)
            case "truncate":
                self._send(200, self._completion(json.dumps(lesion), body), keep=0.5)
            case "drop":
                self.connection.shutdown(socket.SHUT_RDWR)

    def _completion(self, content: str | None, body: dict[str, Any], *, ending: str = "stop", **extra: Any) -> bytes:
        used = {
            "prompt_tokens": len(json.dumps(body["messages"])) // 4,
            "completion_tokens": len(content or "") // 4 + 1,
        }
        choice = {"index": 0, "message": {"role": "assistant", "content": content, **extra}, "finish_reason": ending}
        return json.dumps({"object": "chat.completion", "choices": [choice], "usage": used}).encode()

    def _chat(self, content: str | None, body: dict[str, Any], *, ending: str = "stop", **extra: Any) -> None:
        self._send(200, self._completion(content, body, ending=ending, **extra))

    def _say(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(content).encode(), headers=headers)

    def _send(
        self,
        status: int,
        data: bytes,
        *,
        headers: dict[str, str] | None = None,
        keep: float = 1.0,
        pause_s: float = 0.0,
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        data = data[: int(len(data) * keep)]
        for part in [data] if not pause_s else [data[i : i + 1] for i in range(len(data))]:
            self.wfile.write(part)
            time.sleep(pause_s)
        if keep < 1:
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = keep < 1


def lesion_for(facts: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """An answer that can be used: what a patient radiologist would say to these facts, with something in every key."""
    offered = dict(facts["open"])
    lesion: dict[str, Any] = {}
    for name, words in offered.items():
        if name in ("size_mm", "free_text"):
            continue
        lesion[name] = [rng.choice(words)] if name in ("shape", "specific_features") else rng.choice(words)
    if "lesion_type" in lesion:
        kinds = offered["lesion_type"]
        lesion["lesion_type"] = next((kind for kind in ("cancer", "metastasis") if kind in kinds), kinds[0])
    if "specific_features" in lesion:
        lesion["specific_features"] = []
    if "density" in lesion:
        lesion["density"] = "hypodense lesion" if "hypodense lesion" in offered["density"] else offered["density"][0]
    if "size_mm" in offered:
        least = facts["smallest_axis_mm"]
        lesion["size_mm"] = {
            axis: round(max(least, min(12.0, mm / 4)), 1) for axis, mm in facts["organ_extent_mm"].items()
        }
    if "free_text" in offered:
        lesion["free_text"] = f"A lesion of the {facts['organ'].replace('_', ' ')}, as seen before."
    return lesion
