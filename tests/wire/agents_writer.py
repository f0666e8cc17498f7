"""Writes one session of the Agents SDK for a test: `agents_writer.py URL SESSION NAME ROUNDS [clear]`. Run with PYTHONPATH it is of
another version of the SDK. Prints what it did as JSON: appended and popped texts, errors, and what it reads at the end."""
import asyncio
import json
import sys
import traceback

import agents
import agents.version
from agents.extensions.memory import SQLAlchemySession


def text(item):
    return item["content"]


async def main(url, session, name, rounds, clear):
    s = SQLAlchemySession.from_url(session, url=url.replace("postgresql://", "postgresql+psycopg://"))
    out = {"version": agents.version.__version__, "file": agents.__file__, "appended": [], "popped": [], "errors": []}
    for i in range(rounds):
        items = [{"role": "user", "content": f"{name}-{i}-{k}"} for k in range(2)]
        try:
            await s.add_items(items)
            out["appended"] += map(text, items)
            if i % 3 == 2:
                item = await s.pop_item()
                out["popped"] += [text(item)] if item else []
            if clear and i % 7 == 6:
                await s.clear_session()
        except Exception as e:
            out["errors"].append("".join(traceback.format_exception_only(e))[:300])
    out["items"] = list(map(text, await s.get_items()))
    await s._engine.dispose()
    print(json.dumps(out))


asyncio.run(main(*sys.argv[1:4], int(sys.argv[4]), "clear" in sys.argv[5:]))
