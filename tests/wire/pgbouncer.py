"""PgBouncer in transaction mode before a PostgreSQL server, for tests."""
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse

import psycopg


def installed():
    return shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")


class PgBouncer:
    """with PgBouncer(url) as b: b.url is the same server and database by way of the pooler. conf: more lines of its [pgbouncer] section."""

    def __init__(self, url, **conf):
        self.server = urllib.parse.urlsplit(url)
        self.conf = {"pool_mode": "transaction", "max_client_conn": 300, "default_pool_size": 8, **conf}
        self.process = None

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="cenote-bouncer-"))
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        word = f" password={self.server.password}" if self.server.password else ""
        lines = {"listen_addr": "127.0.0.1", "listen_port": self.port, "unix_socket_dir": "", "auth_type": "any", **self.conf}
        ini = self.folder / "pgbouncer.ini"
        ini.write_text(f"[databases]\n* = host={self.server.hostname} port={self.server.port} user={self.server.username}{word}\n"
                       "[pgbouncer]\n" + "".join(f"{k} = {v}\n" for k, v in lines.items()))
        self.program = [installed() or "pgbouncer", str(ini)]
        if os.geteuid() == 0:  # it does not run as root
            for p in (self.folder, ini):
                shutil.chown(p, "nobody")
            self.program = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *self.program]
        self.log = open(self.folder / "log", "w")
        self.url = self.server._replace(netloc=f"{self.server.username}@127.0.0.1:{self.port}").geturl()
        return self.start()

    def start(self):
        self.process = subprocess.Popen(self.program, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd="/")
        until = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
                return self
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > until:
                    text = (self.folder / "log").read_text()
                    self.__exit__()
                    raise RuntimeError("pgbouncer did not start: " + text) from None

    def restart(self):
        """Ends it, connections and all, and starts it on the same port."""
        self.process.kill()
        self.process.wait()
        self.start()

    def command(self, sql):
        """On its console: PAUSE, RESUME, RECONNECT, SHOW POOLS, ..."""
        with psycopg.connect(self.server._replace(netloc=f"pgbouncer@127.0.0.1:{self.port}", path="/pgbouncer").geturl(), autocommit=True) as c:
            cur = psycopg.ClientCursor(c)
            cur.execute(sql)
            return cur.fetchall() if cur.description else None

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
