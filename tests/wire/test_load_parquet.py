"""The script that loads the sample sets of others: its rows are those that the sample tools answer with."""
import datetime
import decimal
import importlib.util
import json
import pathlib

import openai
import pytest

from model_server import ModelServer
from test_tools import Script, call, outputs, with_tools

pytestmark = pytest.mark.stores("sqlite")
spec = importlib.util.spec_from_file_location("load_parquet", pathlib.Path(__file__).resolve().parents[2] / "examples" / "tools" / "load_parquet.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
WHEN = datetime.datetime(2025, 6, 1, 12, 0, 1, 500000)
THREATS = [{"threat_id": i, "threat_type": "Malware" if i % 2 else "DDoS", "at": WHEN + datetime.timedelta(hours=i), "source_ip": f"10.0.0.{i % 7}",
            "score": decimal.Decimal("7.5"), "ratio": float("nan"), "tags": ["é"], "day": WHEN.date()} for i in range(1, 1003)]
USERS = [{"source_ip": f"10.0.0.{i}", "name": f"N{i}", "since": WHEN.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=2)))} for i in range(7)]


def answers(server, model):
    Script(model, [call("get_cyber_threat_info", {"threat_type": "malware", "limit": 2}), call("get_user_info", {"source_ip": "10.0.0.0"}, "b")], "Well.")
    with openai.OpenAI(api_key="x", base_url=server.url + "/v1", max_retries=0) as c:
        return [json.loads(x) for x in outputs(c.responses.create(model="scripted", input="go"))]


def test_rows(kind, start, tmp_path, capsys, monkeypatch):
    files = {"t.parquet": THREATS, "u.parquet": USERS}
    monkeypatch.setattr(script, "read", lambda path: files[path])
    with ModelServer() as model, with_tools(start, kind, model, "--tools-samples") as server:
        args = ["--server", server.url, "--threats", "t.parquet", "--users", "u.parquet", "--column", "detected_at=at"]
        for _ in range(2):
            assert script.main(args) == 0
            assert capsys.readouterr().out == "threats: 1000 rows of 1002 are stored, the latest 1000\nusers: 7 rows of 7 are stored\n"
            threats, users = answers(server, model)
            assert threats == [{"threat_id": i, "threat_type": "Malware", "detected_at": f"2025-07-{d}", "source_ip": f"10.0.0.{i % 7}", "score": 7.5, "ratio": None,
                                "tags": ["é"], "day": "2025-06-01"} for i, d in ((1001, "13T05:00:01.500000Z"), (999, "13T03:00:01.500000Z"))]
            assert users == [{"source_ip": "10.0.0.0", "name": "N0", "since": "2025-06-01T10:00:01.500000Z"}]
        assert script.main(args[:-2]) == 1 and "threats: row 1 has no text in detected_at; there are the columns threat_id" in capsys.readouterr().err
        files["u.parquet"] = [{"source_ip": b"1"}]
        assert script.main(args) == 1 and "holds bytes" in capsys.readouterr().err
    assert script.main(args[:4] + args[6:]) == 1 and "cannot be reached" in capsys.readouterr().err


def test_parquet(tmp_path):
    import pyarrow
    import pyarrow.parquet
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(THREATS[:3]), tmp_path / "t.parquet", compression="snappy")
    got = script.operations("threats", script.read(tmp_path / "t.parquet"), {"detected_at": "at"})
    assert [op["value"] for op in got] == [op["value"] for op in script.operations("threats", THREATS[:3], {"detected_at": "at"})]
    with pytest.raises(script.Wrong, match="cannot be read"):
        (tmp_path / "x").write_bytes(b"PAR1 not")
        script.read(tmp_path / "x")
