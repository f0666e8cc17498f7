"""Loads the sample sets of the agent for cyber security, Parquet files, into a running server, for the tools get_cyber_threat_info and get_user_info.

    pip install pyarrow
    python examples/tools/load_parquet.py --threats cyber_threat_detection.snappy.parquet --users user_info.snappy.parquet
    cenote serve --tools-samples ...

Every column is taken. Threats need `threat_type`, `detected_at` and `source_ip`, users `source_ip`; a file that calls them otherwise is told with
--column detected_at=timestamp. The rows take the place of those that `cenote demo tools` makes where keys are the same (`threat_id`, else what the row says;
the address), so a second run changes nothing. The server is that of --server or CENOTE_SERVER, the key that of CENOTE_API_KEY."""
import argparse
import datetime
import decimal
import hashlib
import json
import math
import os
import sys
import urllib.error
import urllib.request

SETS = {"threats": ("samples.cyber_threat_detection", ("threat_type", "detected_at", "source_ip")), "users": ("samples.user_info", ("source_ip",))}
THREATS_MOST = 1000  # that get_cyber_threat_info looks at
AT_ONCE = 100


class Wrong(Exception):
    pass


def plain(v):
    """A value of a column as JSON has it; times in UTC."""
    if isinstance(v, datetime.datetime):
        v = v.replace(tzinfo=datetime.timezone.utc) if v.tzinfo is None else v.astimezone(datetime.timezone.utc)
        return v.isoformat(timespec="microseconds" if v.microsecond else "seconds").replace("+00:00", "Z")
    if isinstance(v, (datetime.date, datetime.time)):
        return v.isoformat()
    if isinstance(v, decimal.Decimal):
        return int(v) if v == v.to_integral_value() else float(v)
    if isinstance(v, float) and not math.isfinite(v):
        return None
    if isinstance(v, dict):
        return {str(k): plain(x) for k, x in v.items()}
    if isinstance(v, (list, tuple)):
        return [plain(x) for x in v]
    if isinstance(v, bytes):
        raise Wrong("a column holds bytes, which JSON has not")
    return v


def operations(which, rows, columns=None):
    """Rows (dicts) as operations of a batch. columns: the file's names of those that are needed."""
    namespace, needed = SETS[which]
    other = {theirs: ours for ours, theirs in (columns or {}).items()}
    out = []
    for n, row in enumerate(rows, 1):
        value = {other.get(k, k): plain(v) for k, v in row.items()}
        for name in needed:
            if not isinstance(value.get(name), str) or not value[name]:
                raise Wrong(f"{which}: row {n} has no text in {name}; there are the columns {', '.join(row)} (--column {name}=...)")
        whole = json.dumps(value, sort_keys=True, ensure_ascii=False).encode()
        key = value["source_ip"] if which == "users" else str(value.get("threat_id") or hashlib.sha256(whole).hexdigest()[:32])
        out.append({"op": "put", "namespace": namespace.split("."), "key": key, "index": False, "ttl_minutes": 0, "value": value})
    if which == "threats":
        out.sort(key=lambda op: op["value"]["detected_at"], reverse=True)
    return out[:THREATS_MOST] if which == "threats" else out


def send(url, key, all_operations):
    for at in range(0, len(all_operations), AT_ONCE):
        body = json.dumps({"operations": all_operations[at:at + AT_ONCE]}, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{url.rstrip('/')}/cenote/v1/batch?atomic=true", body, headers), timeout=60):
                pass
        except urllib.error.HTTPError as e:
            raise Wrong(f"{url} answers {e.code}: {e.read(500).decode(errors='replace')}") from None
        except OSError as e:
            raise Wrong(f"{url} cannot be reached: {e}") from None


def read(path):
    try:
        import pyarrow.parquet
    except ImportError:
        raise Wrong("pyarrow is needed to read Parquet: pip install pyarrow") from None
    try:
        return pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as e:
        raise Wrong(f"{path} cannot be read: {e}") from None


def main(arguments=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--server", default=os.environ.get("CENOTE_SERVER", "http://127.0.0.1:8000"))
    p.add_argument("--threats", metavar="FILE")
    p.add_argument("--users", metavar="FILE")
    p.add_argument("--column", metavar="OURS=THEIRS", action="append", default=[], help="a column's name in the file")
    args = p.parse_args(arguments)
    if not (args.threats or args.users):
        p.error("there is nothing to load: --threats FILE, --users FILE")
    columns = dict(c.partition("=")[::2] for c in args.column)
    try:
        for which in SETS:
            if getattr(args, which):
                rows = read(getattr(args, which))
                ops = operations(which, rows, columns)
                send(args.server, os.environ.get("CENOTE_API_KEY"), ops)
                print(f"{which}: {len(ops)} rows of {len(rows)} are stored" + (f", the latest {THREATS_MOST}" if len(ops) < len(rows) else ""))
    except Wrong as e:
        print(f"load_parquet: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
