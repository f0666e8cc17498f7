"""Steers tests/tools/failio.c: a disk that fails and a clock that jumps, below a running server, and well again."""
import errno
import mmap
import os
import pathlib
import struct

FIELDS = ["write_errno", "write_after", "sync_errno", "sync_after", "read_errno", "read_after", "short_writes", "clock_offset",
          "writes", "syncs", "reads", "failed"]
LIBRARY = pathlib.Path(__file__).resolve().parents[2] / "build" / "failio.so"


class FailIO:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        path = self.folder / "failio.control"
        path.write_bytes(b"\0" * 8 * len(FIELDS))
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 8 * len(FIELDS))
        # A sanitizer's runtime wants to be loaded before everything else.
        self.env = {"LD_PRELOAD": f"{os.environ.get('SANITIZER_RUNTIME', '')} {LIBRARY}".strip(), "FAILIO_CONTROL": path,
                    "FAILIO_PREFIX": os.path.realpath(self.folder / "data")}

    def set(self, **fields):
        for name, value in fields.items():
            struct.pack_into("q", self.map, 8 * FIELDS.index(name), value)

    def get(self, name):
        return struct.unpack_from("q", self.map, 8 * FIELDS.index(name))[0]

    def full_disk(self, after=0):
        self.set(write_after=after, write_errno=errno.ENOSPC)

    def broken_write(self, after=0):
        self.set(write_after=after, write_errno=errno.EIO)

    def broken_sync(self, after=0):
        self.set(sync_after=after, sync_errno=errno.EIO)

    def broken_read(self, after=0):
        self.set(read_after=after, read_errno=errno.EIO)

    def well(self):
        self.set(write_errno=0, sync_errno=0, read_errno=0, short_writes=0)

    def close(self):
        self.map.close()
        self.file.close()
