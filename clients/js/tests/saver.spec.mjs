// CenoteSaver beyond LangGraph's validation: the protocol's corners, Python's threads, broken connections, restarts.
import { createServer } from "node:http";
import { AIMessage, HumanMessage } from "@langchain/core/messages";
import { emptyCheckpoint, uuid6 } from "@langchain/langgraph-checkpoint";
import { CenoteError, CenoteSaver } from "@cenote/client";
import { openHouse } from "./house.mjs";
import { startServer } from "./server.js";
import { encodeFrames } from "./node_modules/@cenote/client/src/frames.js";

let house, saver, where;
beforeAll(async () => {
  house = await openHouse();
  where = await house.tenant();
  saver = new CenoteSaver(where);
});
afterAll(async () => {
  expect(await house.server.stop()).toBe(0);
});

let step = 0;
const thread = () => ({ configurable: { thread_id: `t-${uuid6(0)}`, checkpoint_ns: "" } });
const meta = (more) => ({ source: "loop", step: step++, parents: {}, ...more });
const checkpointOf = (values, versions) => ({
  ...emptyCheckpoint(),
  id: uuid6(step),
  channel_values: values,
  channel_versions: versions ?? Object.fromEntries(Object.keys(values).map((k) => [k, saver.getNextVersion(undefined)])),
});
const put = (config, values, more) => {
  const c = checkpointOf(values);
  return saver.put(config, c, meta(more), c.channel_versions);
};
async function all(generator) {
  const out = [];
  for await (const x of generator) out.push(x);
  return out;
}

test("values of every kind come back as they were", async () => {
  const values = {
    text: "ü 🌉 \u0000 \ud800",
    nothing: null,
    missing: undefined,
    number: -0.5,
    big: 1e300,
    bytes: new Uint8Array([0, 255, 1]),
    set: new Set([1, "a"]),
    map: new Map([["k", { deep: [1] }]]),
    messages: [new HumanMessage("hi"), new AIMessage({ content: "yes", tool_calls: [{ id: "c", name: "f", args: { x: 1 } }] })],
    7: "a channel with a number's name",
    3: "another",
    __proto: {},
  };
  const config = await put(thread(), values);
  const { checkpoint } = await saver.getTuple(config);
  expect(checkpoint.channel_values.text).toBe("ü 🌉 \u0000 \ud800");
  expect(checkpoint.channel_values.nothing).toBe(null);
  expect(checkpoint.channel_values.missing).toBe(undefined);
  for (const k of ["number", "big", "bytes", "set", "map", "7", "3"]) expect(checkpoint.channel_values[k]).toEqual(values[k]);
  expect(checkpoint.channel_values.messages.map((m) => [m.getType(), m.content])).toEqual([["human", "hi"], ["ai", "yes"]]);
  expect(checkpoint.channel_values.messages[1].tool_calls[0].args).toEqual({ x: 1 });
});

test("a channel without a value is gone, and what a put does not mention stays", async () => {
  const t = thread();
  const first = checkpointOf({ a: "one", b: "two" }, { a: "1.1", b: "1.2" });
  const c1 = await saver.put(t, first, meta(), first.channel_versions);
  const second = checkpointOf({ b: "ignored, its version is old" }, { a: "2.1", b: "1.2" });
  const c2 = await saver.put(c1, second, meta(), { a: "2.1" });
  const got = await saver.getTuple(c2);
  expect(got.checkpoint.channel_values).toEqual({ b: "two" });
  expect(got.checkpoint.channel_versions).toEqual({ a: "2.1", b: "1.2" });
  expect(got.parentConfig).toEqual(c1);
  expect((await saver.getTuple(t)).config).toEqual(c2);
  expect((await saver.getTuple(c1)).checkpoint.channel_values).toEqual({ a: "one", b: "two" });
});

test("metadata: JSON of any depth, U+0000 left out, unknown members of the checkpoint kept", async () => {
  const c = { ...checkpointOf({}), updated_channels: ["a"], something_new: { x: [1] } };
  const config = await saver.put(thread(), c, meta({ note: "a\u0000b \ud83d", deep: { list: [1, null, { x: "ü" }] }, none: undefined }), {});
  const got = await saver.getTuple(config);
  expect(got.metadata.note).toBe("ab \ufffd");
  expect(got.metadata.deep).toEqual({ list: [1, null, { x: "ü" }] });
  expect(got.checkpoint.updated_channels).toEqual(["a"]);
  expect(got.checkpoint.something_new).toEqual({ x: [1] });
});

test("pending writes: order, replacing of special ones, early ones", async () => {
  const t = thread();
  const id = uuid6(9);
  const at = { configurable: { ...t.configurable, checkpoint_id: id } };
  await saver.putWrites(at, [["x", 1], ["x", 2]], "task-b"); // before its checkpoint is there
  await saver.putWrites(at, [["x", 3]], "task-a");
  await saver.putWrites(at, [["x", "late"]], "task-a"); // stays as it was
  await saver.putWrites(at, [["__interrupt__", ["old"]]], "task-a");
  await saver.putWrites(at, [["__interrupt__", ["new"]]], "task-a");
  await saver.putWrites(at, [], "task-c");
  expect(await saver.getTuple(at)).toBe(undefined);
  const c = { ...checkpointOf({}), id };
  await saver.put(t, c, meta(), {});
  expect((await saver.getTuple(t)).pendingWrites).toEqual([
    ["task-a", "__interrupt__", ["new"]],
    ["task-a", "x", 3],
    ["task-b", "x", 1],
    ["task-b", "x", 2],
  ]);
});

test("list: pages of large values, limit, before, filter, all threads", async () => {
  const own = new CenoteSaver(await house.tenant());
  const t = thread();
  let config = t;
  const text = "x".repeat(3 << 20);
  for (let i = 0; i < 8; i++) {
    const c = checkpointOf({ text: `${i}${text}` }, { text: `${i}.5` });
    config = await own.put(config, c, { source: i ? "loop" : "input", step: i, parents: {}, odd: i % 2 === 1 }, c.channel_versions);
  }
  const listed = await all(own.list(t)); // 24 MiB: more than a page
  expect(listed.map((x) => x.metadata.step)).toEqual([7, 6, 5, 4, 3, 2, 1, 0]);
  expect(listed.every((x) => x.checkpoint.channel_values.text === `${x.metadata.step}${text}`)).toBe(true);
  expect((await all(own.list(t, { limit: 7 }))).length).toBe(7);
  expect(await all(own.list(t, { limit: 0 }))).toEqual([]);
  expect((await all(own.list(t, { before: listed[5].config }))).map((x) => x.metadata.step)).toEqual([1, 0]);
  expect((await all(own.list(t, { filter: { odd: true }, limit: 2 }))).map((x) => x.metadata.step)).toEqual([7, 5]);
  expect((await all(own.list({}))).length).toBe(8);
  for await (const x of own.list(t)) {
    expect(x.metadata.step).toBe(7);
    break; // what was not asked for is not waited for
  }
});

test("delta channels: history by parents, not by ids", async () => {
  const c0 = await put(thread(), { log: ["seed"], 5: ["s5"] });
  await saver.putWrites(c0, [["log", ["a"]], [5, ["five"]]].map(([c, v]) => [String(c), v]), "task-1");
  const empty = checkpointOf({}, {});
  const c1 = await saver.put(c0, empty, meta(), {});
  await saver.putWrites(c1, [["log", ["b"]]], "task-1");
  const side = await saver.put(c0, checkpointOf({}, {}), meta(), {});
  const c2 = await saver.put(c1, checkpointOf({}, {}), meta(), {});
  const h = await saver.getDeltaChannelHistory({ config: c2, channels: ["log", "5", "unknown", "log"] });
  expect(h).toEqual({
    log: { seed: ["seed"], writes: [["task-1", "log", ["a"]], ["task-1", "log", ["b"]]] },
    5: { seed: ["s5"], writes: [["task-1", "5", ["five"]]] },
    unknown: { writes: [] },
  });
  expect((await saver.getDeltaChannelHistory({ config: side, channels: ["log"] })).log.writes).toEqual([["task-1", "log", ["a"]]]);
  expect(await saver.getDeltaChannelHistory({ config: c2, channels: [] })).toEqual({});
});

test("versions of channels: growing, never the same twice", () => {
  const one = saver.getNextVersion(undefined);
  expect(one).toMatch(/^0{31}1\.\d{16}$/);
  expect(saver.getNextVersion(one)).toMatch(/^0{31}2\.\d{16}$/);
  expect(saver.getNextVersion(7) > saver.getNextVersion(6)).toBe(true);
  expect(new Set(Array.from({ length: 1000 }, () => saver.getNextVersion(one))).size).toBe(1000);
});

test("copy, prune, runs, deletion", async () => {
  const t = thread();
  const c1 = await put(t, { a: 1 }, { run_id: "run-1" });
  const c2 = await put(c1, { a: 2 }, { run_id: `run-2-${t.configurable.thread_id}` });
  const other = `copy-${t.configurable.thread_id}`;
  await saver.copyThread(t.configurable.thread_id, other);
  expect((await all(saver.list({ configurable: { thread_id: other } }))).length).toBe(2);
  await expect(saver.copyThread(t.configurable.thread_id, other)).rejects.toThrow(CenoteError);
  expect(await saver.prune([other])).toEqual({ threads: 1, checkpoints: 1 });
  expect((await all(saver.list({ configurable: { thread_id: other } }))).map((x) => x.config.configurable.checkpoint_id)).toEqual([
    c2.configurable.checkpoint_id,
  ]);
  await expect(saver.prune("one")).rejects.toThrow(TypeError);
  expect(await saver.deleteForRuns([`run-2-${t.configurable.thread_id}`])).toBe(2);
  expect((await saver.getTuple(t)).config).toEqual(c1);
  await saver.deleteThread(t.configurable.thread_id);
  expect(await saver.getTuple(t)).toBe(undefined);
  await saver.deleteThread("never was");
});

test("what is missing or wrong is said", async () => {
  const c = checkpointOf({});
  await expect(saver.put({}, c, meta(), {})).rejects.toThrow(/configurable is missing/);
  await expect(saver.put({ configurable: {} }, c, meta(), {})).rejects.toThrow(/thread_id is missing/);
  await expect(saver.putWrites(thread(), [["a", 1]], "t")).rejects.toThrow(/checkpoint_id is missing/);
  await expect(saver.getTuple({ configurable: { thread_id: "x".repeat(300) } })).rejects.toMatchObject({ name: "CenoteError", status: expect.toSatisfy((s) => s >= 400 && s < 500) });
  await expect(new CenoteSaver({ url: where.url, apiKey: "wrong" }).getTuple(thread())).rejects.toMatchObject({ status: 401 });
  expect(() => new CenoteSaver({ url: "localhost:8000" })).toThrow(/http:\/\//);
  expect(() => new CenoteSaver({ url: "http://key@localhost" })).toThrow(/apiKey/);
  expect(await saver.getTuple({ configurable: {} })).toBe(undefined);
});

test("a tenant's threads are not another's", async () => {
  const t = thread();
  await put(t, { a: 1 });
  const other = new CenoteSaver(await house.tenant());
  expect(await other.getTuple(t)).toBe(undefined);
  expect(await all(other.list({}))).toEqual([]);
  await other.deleteThread(t.configurable.thread_id);
  expect((await saver.getTuple(t)).checkpoint.channel_values).toEqual({ a: 1 });
});

test("a thread of LangGraph for Python is refused with a sentence that says so", async () => {
  const id = uuid6(1);
  const message = new Uint8Array([0x92, 0x01, 0x02]);
  const op = { op: "put", thread: "of-python", ns: "", id, metadata: {}, values: [["messages", "1.0", "msgpack", message.length]] };
  op.checkpoint = { v: 4, id, ts: "", channel_values: { step: 3 }, channel_versions: { messages: "1.0" }, versions_seen: {} };
  const r = await fetch(`${where.url}/cenote/v1/checkpoints`, {
    method: "POST",
    headers: { authorization: `Bearer ${where.apiKey}`, "content-type": "application/vnd.cenote.frames" },
    body: encodeFrames({ ops: [op] }, [message]),
  });
  expect(r.status).toBe(200);
  await expect(saver.getTuple({ configurable: { thread_id: "of-python" } })).rejects.toThrow(
    'thread "of-python" was written by LangGraph for Python (channel "messages" has the type msgpack), which LangGraph.js cannot read: a thread belongs to one language',
  );
});

test("a serializer of the user's own", async () => {
  const flip = (b) => b.map((x) => x ^ 0x55);
  const serde = {
    dumpsTyped: async (v) => ["json+flip", flip(new TextEncoder().encode(JSON.stringify(v)))],
    loadsTyped: async (type, b) => {
      if (type !== "json+flip") throw new Error(`not mine: ${type}`);
      return JSON.parse(new TextDecoder().decode(flip(b)));
    },
  };
  const own = new CenoteSaver({ ...where, serde });
  const c = checkpointOf({ secret: { x: "marmalade" } });
  const config = await own.put(thread(), c, meta({ plain: "yes" }), c.channel_versions);
  expect((await own.getTuple(config)).checkpoint.channel_values).toEqual({ secret: { x: "marmalade" } });
  expect((await own.getTuple(config)).metadata.plain).toBe("yes");
  await expect(saver.getTuple(config)).rejects.toThrow(/Unknown serialization type: json\+flip/);
});

test("many at once", async () => {
  const threads = await Promise.all(Array.from({ length: 100 }, (_, i) => put(thread(), { i })));
  const got = await Promise.all(threads.map((t) => saver.getTuple(t)));
  expect(got.map((g) => g.checkpoint.channel_values.i)).toEqual(Array.from({ length: 100 }, (_, i) => i));
});

describe("what passes is tried again", () => {
  // A server that fails as told, then answers null.
  async function flaky(failures, use) {
    const seen = [];
    const server = createServer((q, r) => {
      q.resume().on("end", () => {
        seen.push(q.method);
        const how = failures.shift();
        if (how === "cut") return q.socket.destroy();
        if (how === "half") {
          r.writeHead(200, { "content-length": "1000" });
          r.write("abc");
          return r.on("close", () => {}) && setImmediate(() => q.socket.destroy());
        }
        if (typeof how === "number") return r.writeHead(how, { "content-type": "application/problem+json" }).end('{"detail":"told so","status":' + how + "}");
        if (how === "page") return r.writeHead(502, { "content-type": "text/html" }).end("<html>");
        if (how === "never") return undefined;
        return r.writeHead(200).end(encodeFrames({ results: [{ ok: null }] }, []));
      });
    });
    await new Promise((done) => server.listen(0, "127.0.0.1", done));
    try {
      return await use(`http://127.0.0.1:${server.address().port}`, seen);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  }
  const get = (url, more) => new CenoteSaver({ url, ...more }).getTuple({ configurable: { thread_id: "x" } });

  test.each([["cut"], ["half"], [503], [429], ["page"]])("%s", (how) =>
    flaky([how, how], async (url, seen) => {
      expect(await get(url)).toBe(undefined);
      expect(seen.length).toBe(3);
    }));
  test.each([[400], [401], [404], [409], [413], [422], [500], [507]])("not %s", (how) =>
    flaky([how], async (url, seen) => {
      await expect(get(url)).rejects.toMatchObject({ name: "CenoteError", status: how, message: "told so" });
      expect(seen.length).toBe(1);
    }));
  test("not more often than allowed", () =>
    flaky([503, 503, 503], async (url, seen) => {
      await expect(get(url, { retries: 1 })).rejects.toMatchObject({ status: 503 });
      expect(seen.length).toBe(2);
    }));
  test("a server that does not answer", () =>
    flaky(["never"], async (url) => {
      await expect(get(url, { timeout: 200 })).rejects.toThrow(/did not answer within 200 ms/);
    }));
  test("nobody listens", async () => {
    const free = await flaky([], async (url) => url);
    await expect(get(free, { retries: 1 })).rejects.toThrow(/cannot reach http/);
  });
});

test("a restart of the server in the middle", async () => {
  let server = await startServer();
  try {
    const own = new CenoteSaver({ url: server.url, retries: 20 });
    const t = thread();
    const c = checkpointOf({ a: "before" });
    const config = await own.put(t, c, meta(), c.channel_versions);
    await server.kill();
    const waiting = own.getTuple(t); // nobody listens yet
    const second = checkpointOf({ a: "after" });
    const writing = own.put(config, second, meta(), second.channel_versions);
    server = await startServer({ folder: server.folder, listen: new URL(server.url).host });
    expect((await waiting).checkpoint.channel_values.a).toMatch(/before|after/);
    await writing;
    expect((await own.getTuple(t)).checkpoint.channel_values).toEqual({ a: "after" });
  } finally {
    expect(await server.stop()).toBe(0);
  }
});
