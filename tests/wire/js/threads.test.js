// client.threads of the unmodified JavaScript SDK against a real server, on values as LangGraph.js writes them.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { load, sdk, startServer } from "./server.js";

let server, threads, serde, HumanMessage, count = 0;
before(async () => {
  server = await startServer();
  const { Client } = await sdk();
  threads = new Client({ apiUrl: server.url }).threads;
  serde = new (await load("@langchain/langgraph-checkpoint")).MemorySaver().serde;
  ({ HumanMessage } = await load("@langchain/core/messages"));
});
after(async () => assert.equal(await server.stop(), 0, "SIGTERM ends it with 0"));

const fresh = () => ({ of: `js${count++}` });
const ids = (found) => found.map((t) => t.thread_id);
const fails = (status, pattern) => (e) => e.status === status && pattern.test(String(e.message));
const point = (n) => `1f1e0000-0000-6${String(n).padStart(3, "0")}-8000-0123456789ab`;

// Operations of POST /cenote/v1/checkpoints (docs/checkpoints.md).
async function send(ops, parts) {
  const head = Buffer.from(JSON.stringify({ ops }));
  const size = Buffer.alloc(4);
  size.writeUInt32LE(head.length);
  const answer = await fetch(`${server.url}/cenote/v1/checkpoints`, {
    method: "POST", body: Buffer.concat([size, head, ...parts]), headers: { "content-type": "application/vnd.cenote.frames" },
  });
  assert.equal(answer.status, 200, await answer.clone().text());
}

// A checkpoint as the JavaScript savers write one: every channel's value apart.
async function put(thread, n, values, { ns = "", parent = n > 0 ? point(n - 1) : null, metadata = {} } = {}) {
  const parts = [], list = [], versions = {};
  for (const [channel, value] of Object.entries(values)) {
    const [type, bytes] = await serde.dumpsTyped(value);
    list.push([channel, String(n + 1), type, bytes.length]);
    parts.push(Buffer.from(bytes));
    versions[channel] = n + 1;
  }
  const checkpoint = { v: 4, id: point(n), ts: "2026-11-21T12:40:08.162Z", channel_versions: versions, versions_seen: {} };
  await send([{ op: "put", thread, ns, id: point(n), parent, checkpoint, metadata: { step: n, source: "loop", ...metadata }, values: list }], parts);
}

test("create, get, update, delete", async () => {
  const metadata = fresh();
  const made = await threads.create({ metadata, graphId: "agent", ttl: 60 });
  assert.deepEqual(made.metadata, { ...metadata, graph_id: "agent" });
  assert.equal(made.status, "idle");
  assert.ok(Math.abs(Date.parse(made.created_at) - Date.now()) < 120_000);
  assert.deepEqual(await threads.get(made.thread_id), made);
  assert.equal((await threads.get(made.thread_id, { include: ["ttl"] })).ttl.ttl_minutes, 60);
  assert.deepEqual((await threads.update(made.thread_id, { metadata: { n: 1 } })).metadata, { ...metadata, graph_id: "agent", n: 1 });
  assert.equal(await threads.update(made.thread_id, { metadata: { n: 2 }, returnMinimal: true }), undefined);
  assert.equal((await threads.get(made.thread_id)).metadata.n, 2);
  assert.equal(await threads.delete(made.thread_id), undefined);
  await assert.rejects(threads.get(made.thread_id), fails(404, /no thread/));
});

test("names and conflicts", async () => {
  const threadId = randomUUID();
  assert.equal((await threads.create({ threadId })).thread_id, threadId);
  await assert.rejects(threads.create({ threadId }), fails(409, /exists/));
  assert.equal((await threads.create({ threadId, ifExists: "do_nothing" })).thread_id, threadId);
  await assert.rejects(threads.create({ threadId: "mine" }), fails(422, /UUID/));
  await assert.rejects(threads.copy(randomUUID()), fails(409, /no thread/));
});

test("search and count", async () => {
  const metadata = fresh();
  const made = [];
  for (let i = 0; i < 5; i++) made.push((await threads.create({ metadata: { ...metadata, even: i % 2 === 0 } })).thread_id);
  assert.deepEqual(ids(await threads.search({ metadata })), [...made].reverse());
  assert.deepEqual(ids(await threads.search({ metadata, limit: 2, offset: 1, sortBy: "created_at", sortOrder: "asc" })), made.slice(1, 3));
  assert.deepEqual(ids(await threads.search({ ids: [made[3]] })), [made[3]]);
  assert.deepEqual(await threads.search({ metadata, limit: 1, select: ["thread_id"], extract: { even: "metadata.even" } }), [{ thread_id: made[4], extracted: { even: true } }]);
  assert.equal(await threads.count({ metadata: { ...metadata, even: true } }), 3);
  assert.equal(await threads.count({ metadata, status: "interrupted" }), 0);
  await put(made[0], 0, { topic: "boats" });
  assert.deepEqual(ids(await threads.search({ metadata, values: { topic: "boats" } })), [made[0]]);
  await assert.rejects(threads.search({ limit: 1001 }), fails(422, /limit/));
});

test("states and history of values that JavaScript wrote", async () => {
  const { thread_id } = await threads.create({ metadata: fresh() });
  assert.deepEqual((await threads.getState(thread_id)).values, {});
  assert.deepEqual(await threads.getHistory(thread_id), []);
  for (let i = 0; i < 3; i++) await put(thread_id, i, { messages: [new HumanMessage({ content: "hello", id: "h" })], n: i }, { metadata: { odd: i % 2 } });
  const state = await threads.getState(thread_id);
  assert.equal(state.values.n, 2);
  assert.equal(state.values.messages[0].lc, 1);
  assert.equal(state.values.messages[0].kwargs.content, "hello");
  assert.deepEqual(state.checkpoint, { thread_id, checkpoint_ns: "", checkpoint_id: point(2) });
  assert.deepEqual(state.parent_checkpoint, { thread_id, checkpoint_ns: "", checkpoint_id: point(1) });
  assert.equal((await threads.getState(thread_id, point(0))).values.n, 0);
  assert.equal((await threads.getState(thread_id, { checkpoint_id: point(1), checkpoint_ns: "" })).values.n, 1);
  assert.deepEqual(await threads.getState(thread_id, undefined, { select: ["values.n"] }), { values: { n: 2 } });
  const numbers = (states) => states.map((s) => s.values.n);
  assert.deepEqual(numbers(await threads.getHistory(thread_id)), [2, 1, 0]);
  assert.deepEqual(numbers(await threads.getHistory(thread_id, { before: { configurable: { checkpoint_id: point(2) } }, limit: 1 })), [1]);
  assert.deepEqual(numbers(await threads.getHistory(thread_id, { metadata: { odd: 1 } })), [1]);
  await assert.rejects(threads.getState(thread_id, "none"), fails(404, /checkpoint/));
});

test("interrupts", async () => {
  const { thread_id } = await threads.create({ metadata: fresh() });
  await put(thread_id, 0, { n: 1 });
  const [type, bytes] = await serde.dumpsTyped([{ id: "i1", value: { question: "sure?" } }]);
  await send([{ op: "writes", thread: thread_id, id: point(0), task_id: "t1", task_path: "~__pregel_pull, ask", writes: [[-3, "__interrupt__", type, bytes.length]] }], [Buffer.from(bytes)]);
  const wanted = [{ id: "i1", value: { question: "sure?" } }];
  const thread = await threads.get(thread_id);
  assert.equal(thread.status, "interrupted");
  assert.deepEqual(thread.interrupts, { t1: wanted });
  assert.deepEqual((await threads.getState(thread_id)).interrupts, wanted);
  const [task] = (await threads.getState(thread_id, undefined, { subgraphs: true })).tasks;
  assert.deepEqual([task.id, task.name, task.interrupts], ["t1", "ask", wanted]);
});

test("update, copy, prune", async () => {
  const { thread_id } = await threads.create({ metadata: fresh() });
  const first = await threads.updateState(thread_id, { values: { n: 1 }, asNode: "import" });
  assert.equal(first.configurable.thread_id, thread_id);
  assert.deepEqual(first.configurable, first.checkpoint);
  await threads.updateState(thread_id, { values: { n: 2 } });
  await threads.updateState(thread_id, { values: { n: 3 }, checkpointId: first.checkpoint.checkpoint_id });
  assert.equal((await threads.getState(thread_id)).parent_checkpoint.checkpoint_id, first.checkpoint.checkpoint_id);
  await assert.rejects(threads.updateState(thread_id, { values: null }), fails(400, /values/));
  const copied = await threads.copy(thread_id);
  assert.equal((await threads.getHistory(copied.thread_id)).length, 3);
  assert.deepEqual(await threads.prune([thread_id], { strategy: "keep_latest" }), { pruned_count: 1 });
  assert.equal((await threads.getHistory(thread_id)).length, 1);
  assert.deepEqual(await threads.prune([thread_id, copied.thread_id]), { pruned_count: 2 });
  await assert.rejects(threads.get(copied.thread_id), fails(404, /no thread/));
});

test("supersteps, and what needs a graph", async () => {
  const made = await threads.create({ supersteps: [{ updates: [{ values: { a: 1 }, asNode: "x" }] }, { updates: [{ values: { b: 2 }, asNode: "y" }] }] });
  assert.deepEqual(made.values, { a: 1, b: 2 });
  await assert.rejects(threads.create({ supersteps: [{ updates: [{ values: { a: 1 }, command: { goto: "x" }, asNode: "x" }] }] }), fails(400, /graph/));
  await assert.rejects(threads.patchState(made.thread_id, { x: 1 }), fails(404, /PATCH the thread/));
});
