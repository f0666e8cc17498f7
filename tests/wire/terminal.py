"""A program on a terminal of its own: what it writes, what is typed. Nothing here sleeps: expect() waits for the text.

    with Terminal("chat", env=..) as t:
        t.expect("> ")
        t.type("hello")             # and Enter
        t.expect(r"said: (.*)")     # a match; what came before it is behind us
        t.key("c")                  # Ctrl-C
        t.raw                       # every byte that came"""
import os
import pty
import re
import select
import subprocess
import time
import fcntl
import struct
import termios

from server import PATIENCE, TREE, binary, clean_env

KNOWN = f"print_suppressions=0:suppressions={TREE}/tests/lsan.supp"
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]")


class Terminal:
    def __init__(self, *args, env=None, term="xterm", width=200):
        self.lead, follow = pty.openpty()
        fcntl.ioctl(follow, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
        self.before = termios.tcgetattr(follow)
        self.process = subprocess.Popen([binary(), *map(str, args)], env=clean_env(**{"TERM": term, "LSAN_OPTIONS": KNOWN, **(env or {})}), stdin=follow, stdout=follow,
                                        stderr=follow, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.follow, self.raw, self.at = follow, b"", 0

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.lead)
        if self.follow is not None:
            os.close(self.follow)

    def text(self):
        return ESCAPES.sub(b"", self.raw).decode(errors="replace").replace("\r\n", "\n")

    def read(self, wait):
        """False: nothing came, or the other side has closed."""
        if not select.select([self.lead], [], [], wait)[0]:
            return False
        try:
            piece = os.read(self.lead, 65536)
        except OSError:
            return False
        self.raw += piece
        return bool(piece)

    def expect(self, pattern, wait=PATIENCE):
        end = time.monotonic() + wait
        while True:
            text = self.text()
            m = re.compile(pattern, re.S).search(text, self.at)
            if m:
                self.at = m.end()
                return m
            if time.monotonic() > end or (self.process.poll() is not None and not self.read(0)):
                raise AssertionError(f"no {pattern!r} in {text[self.at:]!r}")
            self.read(0.05)

    def type(self, line):
        os.write(self.lead, line.encode() + b"\r")

    def key(self, letter):
        os.write(self.lead, bytes([ord(letter.upper()) - 64]))

    def leave(self):
        """Ctrl-D at the prompt, which is lost when it comes before; its exit code."""
        self.at = len(self.text().rstrip("> \n"))
        self.expect(r"> \Z")
        self.key("d")
        return self.end()

    def end(self, wait=PATIENCE):
        """Its exit code; the terminal must be as it was."""
        end = time.monotonic() + wait
        while self.process.poll() is None:
            assert time.monotonic() < end, self.text()
            self.read(0.05)
        while self.read(0):
            pass
        assert termios.tcgetattr(self.follow) == self.before
        return self.process.returncode
