/**
 * CenoteSaver: LangGraph's checkpoints on a Cenote server (docs/checkpoints.md has the protocol).
 *
 * 1. Values are what `serde` makes of them, type and bytes; the server does not look inside. None is put into the checkpoint itself.
 * 2. Only channels of newVersions are sent, as "empty" when they have no value.
 * 3. Versions of channels are never used twice, also not by two branches of one thread.
 * 4. All calls may be repeated, so the transport does so when a connection breaks.
 */
import {
  BaseCheckpointSaver,
  TASKS,
  WRITES_IDX_MAP,
  getCheckpointId,
  maxChannelVersion,
} from "@langchain/langgraph-checkpoint";
import { FRAMES, decodeFrames, encodeFrames } from "./frames.js";
import { Transport, problemError } from "./transport.js";

const EMPTY = "empty";
const NOTHING = new Uint8Array(0);
/** Types that LangGraph for Python writes and its JavaScript cannot read. */
const PYTHON = /^(msgpack|pickle|null|bytearray)(\+|$)/;

/** JSON that every store takes: U+0000 left out, halves of surrogate pairs replaced (PostgreSQL's jsonb refuses both). */
function plainJson(value) {
  const clean = (s) => s.replace(/\u0000/g, "").replace(/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g, "\uFFFD");
  return JSON.parse(JSON.stringify(value), (_, v) => (typeof v === "string" ? clean(v) : v));
}

function required(config, ...names) {
  const given = config?.configurable;
  if (!given) throw new Error('config.configurable is missing: it has to say thread_id, as in { configurable: { thread_id: "1" } }');
  for (const name of names) {
    if (given[name] === undefined || given[name] === null || given[name] === "") throw new Error(`config.configurable.${name} is missing`);
  }
  return given;
}

const named = (thread, ns, id) => ({ configurable: { thread_id: thread, checkpoint_ns: ns, checkpoint_id: id } });

export class CenoteSaver extends BaseCheckpointSaver {
  #transport;
  #json;

  constructor(options = {}) {
    super();
    this.#json = this.serde;
    if (options.serde) this.serde = options.serde;
    this.#transport = new Transport(options);
  }

  /** One operation. values: bytes that go with it. */
  async #ask(op, values = []) {
    const frame = decodeFrames(await this.#transport.post("/cenote/v1/checkpoints", FRAMES, encodeFrames({ ops: [op] }, values)));
    const result = frame.head.results?.[0];
    if (result?.error) throw problemError(result.error);
    if (!result || !("ok" in result)) throw new Error("the server's answer has no result (is it a Cenote server?)");
    return { ok: result.ok, take: frame.take };
  }

  async #load(thread, channel, type, bytes) {
    try {
      return await this.serde.loadsTyped(type, type === "bytes" ? bytes.slice() : bytes);
    } catch (cause) {
      if (!PYTHON.test(type)) throw cause;
      throw new Error(
        `thread ${JSON.stringify(thread)} was written by LangGraph for Python (channel ${JSON.stringify(channel)} has the type ${type}), ` +
          "which LangGraph.js cannot read: a thread belongs to one language",
        { cause },
      );
    }
  }

  async getTuple(config) {
    const { thread_id: thread, checkpoint_ns: ns } = config?.configurable ?? {};
    if (thread === undefined || thread === null || thread === "") return undefined;
    const op = { op: "get", thread: String(thread), ns: ns ?? "" };
    const id = getCheckpointId(config);
    if (id) op.id = id;
    const { ok, take } = await this.#ask(op);
    return ok ? this.#tuple(ok, take) : undefined;
  }

  async *list(config, options) {
    const given = config?.configurable ?? {};
    let left = options?.limit ?? Infinity;
    let cursor = null;
    const op = { op: "list" };
    if (given.thread_id !== undefined && given.thread_id !== null) op.thread = String(given.thread_id);
    if (given.checkpoint_ns !== undefined && given.checkpoint_ns !== null) op.ns = given.checkpoint_ns;
    if (given.checkpoint_id) op.id = given.checkpoint_id;
    if (options?.before?.configurable?.checkpoint_id) op.before = options.before.configurable.checkpoint_id;
    if (options?.filter) op.filter = options.filter;
    if (!(left > 0)) return;
    do {
      if (left !== Infinity) op.limit = left;
      if (cursor !== null) op.cursor = cursor;
      const { ok, take } = await this.#ask(op);
      // Bytes lie in the order of the tuples: all of a page are cut before the first is given away.
      const parts = ok.tuples.map((t) => this.#cut(t, take));
      for (const part of parts) yield await this.#build(part);
      left -= parts.length;
      cursor = ok.cursor ?? null;
    } while (cursor !== null && left > 0);
  }

  async put(config, checkpoint, metadata, newVersions) {
    const given = required(config, "thread_id");
    const thread = String(given.thread_id);
    const ns = given.checkpoint_ns ?? "";
    const parent = getCheckpointId(config);
    const { channel_values: channels, ...rest } = checkpoint;
    const dumped = await Promise.all(
      Object.entries(newVersions).map(async ([channel, version]) => {
        const there = channels && Object.prototype.hasOwnProperty.call(channels, channel);
        const [type, bytes] = there ? await this.serde.dumpsTyped(channels[channel]) : [EMPTY, NOTHING];
        return { row: [channel, String(version), type, bytes.length], bytes };
      }),
    );
    const [, text] = await this.#json.dumpsTyped(metadata ?? {});
    const op = {
      op: "put",
      thread,
      ns,
      id: checkpoint.id,
      checkpoint: rest,
      metadata: plainJson(JSON.parse(new TextDecoder().decode(text))),
      values: dumped.map((d) => d.row),
    };
    if (parent) op.parent = parent;
    await this.#ask(op, dumped.map((d) => d.bytes));
    return named(given.thread_id, ns, checkpoint.id);
  }

  async putWrites(config, writes, taskId) {
    const given = required(config, "thread_id", "checkpoint_id");
    if (writes.length === 0) return;
    const dumped = await Promise.all(
      writes.map(async ([channel, value], i) => {
        const [type, bytes] = await this.serde.dumpsTyped(value);
        return { row: [WRITES_IDX_MAP[channel] ?? i, channel, type, bytes.length], bytes };
      }),
    );
    const op = {
      op: "writes",
      thread: String(given.thread_id),
      ns: given.checkpoint_ns ?? "",
      id: given.checkpoint_id,
      task_id: taskId,
      writes: dumped.map((d) => d.row),
    };
    await this.#ask(op, dumped.map((d) => d.bytes));
  }

  async deleteThread(threadId) {
    await this.#ask({ op: "delete_thread", thread: String(threadId) });
  }

  async getDeltaChannelHistory({ config, channels }) {
    const wanted = [...new Set(channels)];
    if (wanted.length === 0) return {};
    const given = required(config, "thread_id");
    const thread = String(given.thread_id);
    const op = { op: "history", thread, ns: given.checkpoint_ns ?? "", channels: wanted };
    const id = getCheckpointId(config);
    if (id) op.id = id;
    const { ok, take } = await this.#ask(op);
    // In the order asked for, which is that of the bytes (names like "1" change places in objects).
    const parts = wanted.map((channel) => {
      const { seed, writes = [] } = ok.channels[channel] ?? {};
      return {
        channel,
        seed: seed && (seed[0] === "value" ? { type: seed[1], bytes: take(seed[2]) } : { json: seed[1] }),
        writes: writes.map(([task, type, n]) => ({ task, type, bytes: take(n) })),
      };
    });
    const out = {};
    for (const part of parts) out[part.channel] = await this.#channelHistory(thread, part);
    return out;
  }

  async #channelHistory(thread, { channel, seed, writes }) {
    const out = {
      writes: await Promise.all(writes.map(async (w) => [w.task, channel, await this.#load(thread, channel, w.type, w.bytes)])),
    };
    if (seed) out.seed = "json" in seed ? seed.json : await this.#load(thread, channel, seed.type, seed.bytes);
    return out;
  }

  /** Checkpoints of these runs (metadata.run_id), in all threads. */
  async deleteForRuns(runIds) {
    const { ok } = await this.#ask({ op: "delete_runs", runs: [...runIds] });
    return ok.checkpoints;
  }

  /** Everything of a thread under another name, which must not have checkpoints yet. */
  async copyThread(source, target) {
    await this.#ask({ op: "copy", from: String(source), to: String(target) });
  }

  /** "keep_latest" keeps the newest checkpoint of every namespace and what it needs; "delete" keeps nothing. */
  async prune(threadIds, { strategy = "keep_latest" } = {}) {
    if (!Array.isArray(threadIds)) throw new TypeError("prune wants an array of thread ids");
    if (threadIds.length === 0) return { threads: 0, checkpoints: 0 };
    return (await this.#ask({ op: "prune", threads: threadIds.map(String), strategy })).ok;
  }

  /** The next whole number, and random digits: two branches of a thread never have a version in common. */
  getNextVersion(current) {
    const n = typeof current === "string" ? Number.parseInt(current, 10) : Math.trunc(current ?? 0);
    const tail = Math.random().toFixed(16).slice(2);
    return `${String((Number.isFinite(n) ? n : 0) + 1).padStart(32, "0")}.${tail}`;
  }

  #cut(t, take) {
    return {
      t,
      values: t.values.map(([channel, , type, n]) => ({ channel, type, bytes: take(n) })),
      writes: t.writes.map(([task, , , channel, type, n]) => ({ task, channel, type, bytes: take(n) })),
      sends: t.sends?.map(([type, n]) => ({ type, bytes: take(n) })),
    };
  }

  #tuple(t, take) {
    return this.#build(this.#cut(t, take));
  }

  async #build({ t, values, writes, sends }) {
    const load = (channel, { type, bytes }) => this.#load(t.thread, channel, type, bytes);
    const loaded = await Promise.all(values.map((v) => load(v.channel, v)));
    const checkpoint = { ...t.checkpoint, channel_values: { ...t.checkpoint.channel_values } };
    values.forEach((v, i) => {
      checkpoint.channel_values[v.channel] = loaded[i];
    });
    if (sends?.length) await this.#migrateSends(checkpoint, await Promise.all(sends.map((s) => load(TASKS, s))));
    const tuple = {
      config: named(t.thread, t.ns, t.id),
      checkpoint,
      metadata: await this.#json.loadsTyped("json", JSON.stringify(t.metadata)),
      pendingWrites: await Promise.all(writes.map(async (w) => [w.task, w.channel, await load(w.channel, w)])),
    };
    if (t.parent) tuple.parentConfig = named(t.thread, t.ns, t.parent);
    return tuple;
  }

  /** Checkpoints of the format before 4 kept sends as writes of the parent. */
  #migrateSends(checkpoint, sends) {
    const versions = Object.values(checkpoint.channel_versions ?? {});
    checkpoint.channel_values[TASKS] = sends;
    checkpoint.channel_versions = {
      ...checkpoint.channel_versions,
      [TASKS]: versions.length > 0 ? maxChannelVersion(...versions) : this.getNextVersion(undefined),
    };
  }
}
