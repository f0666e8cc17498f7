"""The package as it is installed, its example, its types."""
import pathlib
import subprocess
import sys

import cenote

HERE = pathlib.Path(__file__).resolve().parents[1]


def test_what_is_exported():
    assert all(getattr(cenote, name).__doc__ for name in cenote.__all__)
    assert (pathlib.Path(cenote.__file__).parent / "py.typed").exists()


def test_public_methods_are_described():
    for cls in (cenote.CenoteSaver, cenote.AsyncCenoteSaver, cenote.CenoteStore, cenote.AsyncCenoteStore, cenote.CenoteSession, cenote.LongTermMemory,
                cenote.AsyncLongTermMemory, cenote.Client):
        for name, method in vars(cls).items():
            if callable(method) and not name.startswith("_") and cls is not cenote.AsyncCenoteSaver:
                assert method.__doc__, f"{cls.__name__}.{name}"


def test_the_example(server):
    r = subprocess.run([sys.executable, "-W", "error::ResourceWarning", HERE / "examples" / "agent.py", server.url], capture_output=True, text=True, timeout=120)
    assert r.returncode == 0, r.stderr
    for line in ("Shall I book a window seat?", "Done: booked a window seat", "I know: I like window seats", "Done: not booked", "What can I do?"):
        assert line in r.stdout


def test_the_example_of_documents(server):
    r = subprocess.run([sys.executable, "-W", "error::ResourceWarning", HERE / "examples" / "documents.py", server.url], capture_output=True, text=True, timeout=120)
    assert r.returncode == 0, r.stderr
    assert "gardeners where is the key of the shed?      -> 2: The key of the tool shed" in r.stdout
    assert "office    where is the key of the shed?      -> None: nothing" in r.stdout


def test_without_orjson(server, thread):
    """The standard library's json does as well."""
    code = f"""
import sys
sys.modules["orjson"] = None
sys.path.insert(0, {str(HERE / "tests")!r})
import cenote, math
from test_saver import EXACT, put, config, same
with cenote.CenoteSaver.connect({server.url!r}) as s:
    put(s, {thread!r}, EXACT, metadata={{"nan": math.nan, "nul": ["a\\0"]}})
    t = s.get_tuple(config({thread!r}))
    got = t.checkpoint["channel_values"]
    got["tuple"] = {{"t": (1, 2)}}
    assert all(same(v, got[k]) for k, v in EXACT.items())
    assert t.metadata["nan"] is None and t.metadata["nul"] == ["a"]
"""
    r = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert r.returncode == 0, r.stderr
