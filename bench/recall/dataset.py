"""The conversations and their questions (README.md says what they are)."""
import dataclasses
import json
import pathlib

FOLDER = pathlib.Path(__file__).resolve().parent / "data"
HALVES = ("dev", "test")
KINDS = ("people", "assistant")
QUESTION_KINDS = ("single-hop", "multi-hop", "temporal", "unanswerable")


@dataclasses.dataclass
class Conversation:
    half: str
    kind: str
    name: str
    messages: list   # of objects as /cenote/v1/messages takes them, oldest first in each thread
    questions: list  # of {"id", "question", "kind", "answer", "evidence"}


def lines(path):
    """The objects of a JSON Lines file; ValueError names file and line."""
    out = []
    for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            out.append(json.loads(line))
        except ValueError as e:
            raise ValueError(f"{path.parent.name}/{path.name} line {n}: not JSON: {e}") from None
        if not isinstance(out[-1], dict):
            raise ValueError(f"{path.parent.name}/{path.name} line {n}: not an object")
    return out


def load(half, kinds=KINDS, folder=FOLDER):
    """The conversations of one half, people first, by name."""
    out = []
    for kind in kinds:
        for where in sorted((pathlib.Path(folder) / half / kind).glob("*/")):
            out.append(Conversation(half, kind, where.name, lines(where / "messages.jsonl"), lines(where / "questions.jsonl")))
    return out
