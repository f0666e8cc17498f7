// The store calls of the unmodified JavaScript SDK against a real server.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { sdk, startServer } from "./server.js";

let server, store, count = 0;
before(async () => {
  server = await startServer();
  const { Client } = await sdk();
  store = new Client({ apiUrl: server.url }).store;
});
after(async () => assert.equal(await server.stop(), 0, "SIGTERM ends it with 0"));
const fresh = () => ["js", `n${count++}`];
const keys = (answer) => answer.items.map((i) => i.key);

test("put, get, delete", async () => {
  const ns = fresh();
  const value = { text: "Zwei Brücken 🌉", n: 2.5, deep: { list: [1, null, true, "x"] } };
  assert.equal(await store.putItem(ns, "k", value), undefined);
  const item = await store.getItem(ns, "k");
  assert.deepEqual(item.value, value);
  assert.deepEqual(item.namespace, ns);
  assert.equal(item.key, "k");
  assert.ok(Math.abs(Date.parse(item.createdAt) - Date.now()) < 120_000);
  assert.ok(Date.parse(item.updatedAt) >= Date.parse(item.createdAt));
  await store.deleteItem(ns, "k");
  assert.equal(await store.getItem(ns, "k"), null);
  await store.deleteItem(ns, "k");
});

test("keys that need encoding", async () => {
  const ns = fresh();
  for (const key of ["a b", "a/b", "ü", "💧", "a.b", "%2E", "..", "a&b=c", "+"]) {
    await store.putItem(ns, key, { key });
    assert.deepEqual((await store.getItem(ns, key)).value, { key });
  }
});

test("search: order, limit, offset, filter", async () => {
  const ns = fresh();
  for (let i = 0; i < 12; i++) await store.putItem(ns, `k${i}`, { i, even: i % 2 === 0 });
  assert.deepEqual(keys(await store.searchItems(ns)), ["k11", "k10", "k9", "k8", "k7", "k6", "k5", "k4", "k3", "k2"]);
  assert.deepEqual(keys(await store.searchItems(ns, { limit: 2, offset: 10 })), ["k1", "k0"]);
  assert.deepEqual(keys(await store.searchItems(ns, { filter: { even: true, i: { $gt: 6 } } })), ["k10", "k8"]);
});

test("search by words", async () => {
  const ns = fresh();
  await store.putItem(ns, "boat", { text: "The boat is called Heron" });
  await store.putItem(ns, "bread", { text: "Rye bread" });
  const found = await store.searchItems(ns, { query: "name of the boats" });
  assert.deepEqual(keys(found), ["boat"]);
  assert.equal(typeof found.items[0].score, "number");
  assert.ok(found.items[0].createdAt, "items come in the client's spelling");
});

test("index and ttl", async () => {
  const ns = fresh();
  await store.putItem(ns, "hidden", { text: "marmalade" }, { index: false, ttl: 5 });
  await store.putItem(ns, "shown", { text: "marmalade" }, { index: ["text"], ttl: null });
  assert.deepEqual(keys(await store.searchItems(ns, { query: "marmalade", refreshTtl: false })), ["shown"]);
  assert.deepEqual((await store.getItem(ns, "hidden", { refreshTtl: true })).value, { text: "marmalade" });
});

test("namespaces", async () => {
  const ns = fresh();
  for (const p of [["a"], ["a", "b"], ["b", "c"]]) await store.putItem([...ns, ...p], "k", {});
  const { namespaces } = await store.listNamespaces({ prefix: ns });
  assert.deepEqual(namespaces, [[...ns, "a"], [...ns, "a", "b"], [...ns, "b", "c"]]);
  assert.deepEqual((await store.listNamespaces({ prefix: ns, maxDepth: 3, limit: 5, offset: 1 })).namespaces, [[...ns, "b"]]);
  assert.deepEqual((await store.listNamespaces({ suffix: ["b"], prefix: ns })).namespaces, [[...ns, "a", "b"]]);
});

test("errors reach the caller with their status and sentence", async () => {
  await assert.rejects(store.putItem(["a", ""], "k", {}), (e) => e.status === 422 && /label|namespace/.test(String(e.message)));
  await assert.rejects(store.putItem([], "k", {}), (e) => e.status === 400);
  await assert.rejects(store.searchItems(["a"], { filter: { x: { $foo: 1 } } }), (e) => e.status === 422);
});

test("many at once on kept connections", async () => {
  const ns = fresh();
  await Promise.all(Array.from({ length: 200 }, (_, i) => store.putItem(ns, `k${i}`, { i })));
  const all = await Promise.all(Array.from({ length: 200 }, (_, i) => store.getItem(ns, `k${i}`)));
  assert.deepEqual(all.map((i) => i.value.i), Array.from({ length: 200 }, (_, i) => i));
});
