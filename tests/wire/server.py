"""A real `cenote serve` process for tests: started on a free port, ready when it says so, stopped with SIGTERM, its folder removed.

Nothing here sleeps: start() waits for the ready line, stop() for the end of the process."""
import http.client
import json
import os
import pathlib
import queue
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse

TREE = pathlib.Path(__file__).resolve().parents[2]
READY = "cenote: listening on http://"
# How long tests wait. What must come is waited for until it is there: only a test that fails waits so many seconds.
PATIENCE = 180
WORK = 600  # for a program that has real work to do, such as an SDK's in a process of its own
FULL = os.environ.get("CENOTE_FAULTS_FULL") == "1"  # `make faults-full`, which holds the product to its promises and wants the machine for itself


def at_most(promised):
    """The seconds that the product may take for what it promises in `promised`: ten times as many on a machine that has other things to do."""
    return promised if FULL else 10 * promised


def binary():
    return str(pathlib.Path(os.environ.get("CENOTE_BIN", TREE / "build" / "cenote")).resolve())


def clean_env(**more):
    """The environment without settings of the developer's own."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("CENOTE_", "LANG", "FAILIO_", "PG", "DATABRICKS_", "MLFLOW_", "OTEL_"))
           and k not in ("PORT", "HOST", "DATABASE_URL", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE")}
    env["LC_ALL"] = "C.UTF-8"
    env.update({k: str(v) for k, v in more.items()})
    return env


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class Server:
    """store: a URL; a SQLite store in the server's own folder unless given."""

    def __init__(self, *args, folder=None, env=None, listen="127.0.0.1:0", wrapper=(), socket_too=True, store=None):
        self.own_folder = folder is None
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="cenote-test-"))
        self.args, self.wrapper, self.listen, self.socket_too = list(args), list(wrapper), listen, socket_too
        self.store = store or f"sqlite:{self.folder / 'data'}"
        self.env = clean_env(CENOTE_DATA=self.folder / "data", XDG_CONFIG_HOME=self.folder, **(env or {}))
        self.process, self.url, self.log = None, None, []

    def command(self):
        return self.wrapper + [binary(), "serve", "--store", self.store, "--listen", self.listen] + self.args

    def start(self, wait=60):
        self.log, lines = [], queue.Queue()
        self.process = subprocess.Popen(self.command(), env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True, errors="replace")

        def pump(stream, log):
            for line in stream:
                log.append(line)
                lines.put(line)
            lines.put(None)

        self.pump = threading.Thread(target=pump, args=(self.process.stderr, self.log), daemon=True)
        self.pump.start()
        while True:
            try:
                line = lines.get(timeout=wait)
            except queue.Empty:
                self.kill()
                raise RuntimeError("no ready line: " + "".join(self.log[-20:])) from None
            if line is None:
                code = self.process.wait()
                raise RuntimeError(f"ended with {code} before it was ready: " + "".join(self.log[-20:]))
            if line.startswith(READY):
                self.url = line.strip().removeprefix("cenote: listening on ")
                break
        where = urllib.parse.urlsplit(self.url)
        self.host, self.port = where.hostname, where.port
        return self

    def stop(self, wait=60):
        """SIGTERM; returns the exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(wait)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError("SIGTERM did not end it: " + "".join(self.log[-20:])) from None
        self.pump.join(10)
        self.process.stderr.close()
        self.process = None
        return code

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.pump.join(10)
            self.process.stderr.close()
            self.process = None

    def remove(self):
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        try:
            code = self.stop()
            if exc[0] is None and code not in (0, None):  # None: the test has stopped it itself
                raise RuntimeError(f"the server ended with {code}: " + "".join(self.log[-30:]))
        finally:
            self.remove()

    def logged(self, *parts, wait=PATIENCE):
        """The lines of the log with all parts; waits for the first, since what is logged arrives beside the answers."""
        end = time.monotonic() + wait
        while not (found := [line for line in self.log if all(p in line for p in parts)]) and time.monotonic() < end:
            time.sleep(0.02)
        return found

    def request(self, method, path, body=None, headers=None, timeout=60):
        """One request on a connection of its own; body: bytes as they are, anything else as JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, bytearray)):
            body = json.dumps(body, ensure_ascii=False).encode()
            headers.setdefault("Content-Type", "application/json")
        conn = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            try:
                conn.request(method, path, body, headers)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before all of the body was sent: the answer has come already
            r = conn.getresponse()
            return Reply(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
        finally:
            conn.close()

    def raw(self, data, timeout=60, half_close=False):
        """Bytes in, all bytes until the server closes the connection (or one answer, if it stays open) out."""
        with socket.create_connection((self.host, self.port), timeout=timeout) as s:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
            got = b""
            while True:
                try:
                    piece = s.recv(65536)
                except ConnectionResetError:
                    break
                if not piece:
                    break
                got += piece
            return got

    def run(self, *args, stdin=None, env=None, check=None, timeout=WORK, text=True):
        """The command line against this server's data folder (through its socket when it runs)."""
        mine = {k: v for k, v in self.env.items() if k.startswith(("CENOTE_", "XDG_"))}
        return run(*args, env={**mine, "CENOTE_STORE": self.store, **(env or {})}, stdin=stdin, check=check, timeout=timeout, text=text)


def run(*args, env=None, stdin=None, check=None, timeout=WORK, text=True):
    r = subprocess.run([binary(), *map(str, args)], env=clean_env(**(env or {})), input=stdin, capture_output=True, timeout=timeout,
                       text=text, stdin=subprocess.DEVNULL if stdin is None else None)
    if check is not None and r.returncode != check:
        raise AssertionError(f"cenote {' '.join(map(str, args))}: exit {r.returncode}, wanted {check}\n{r.stdout}\n{r.stderr}")
    return r
