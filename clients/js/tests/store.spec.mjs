// CenoteStore against a real server.
import { InMemoryStore } from "@langchain/langgraph-checkpoint";
import { CenoteError, CenoteStore } from "@cenote/client";
import { openHouse } from "./house.mjs";

let house, store, memory, count = 0;
beforeAll(async () => {
  house = await openHouse();
  store = new CenoteStore(await house.tenant());
});
beforeEach(() => {
  memory = new InMemoryStore();
});
afterAll(async () => {
  expect(await house.server.stop()).toBe(0);
});
const fresh = () => ["js", `n${count++}`];
const both = (f) => Promise.all([f(store), f(memory)]);
const bare = (items) => items.map(({ namespace, key, value }) => ({ namespace, key, value })).sort((a, b) => (a.key < b.key ? -1 : 1));

test("put, get, delete", async () => {
  const ns = fresh();
  const value = { text: "Zwei Brücken 🌉", n: 2.5, deep: { list: [1, null, true, "x"] } };
  expect(await store.put(ns, "k/1 ü", value)).toBe(undefined);
  const item = await store.get(ns, "k/1 ü");
  expect(bare([item])).toEqual([{ namespace: ns, key: "k/1 ü", value }]);
  expect(item.createdAt).toBeInstanceOf(Date);
  expect(Math.abs(item.updatedAt - Date.now())).toBeLessThan(120_000);
  await store.delete(ns, "k/1 ü");
  expect(await store.get(ns, "k/1 ü")).toBe(null);
  await store.delete(ns, "k/1 ü");
});

test("the same as InMemoryStore: search, filters, namespaces", async () => {
  const ns = fresh();
  await both(async (s) => {
    for (let i = 0; i < 6; i++) await s.put([...ns, i % 2 ? "odd" : "even"], `k${i}`, { i, kind: i < 3 ? "low" : "high" });
    await s.put([...ns, "odd", "deep"], "d", { i: 100 });
  });
  for (const options of [{}, { filter: { kind: "low" } }, { filter: { i: { $gte: 3 } } }, { filter: { i: { $gt: 1, $lt: 5 }, kind: "high" } }, { limit: 100 }]) {
    const [ours, theirs] = await both((s) => s.search(ns, options));
    expect(bare(ours)).toEqual(bare(theirs));
  }
  for (const options of [{ prefix: ns }, { prefix: [...ns, "*"] }, { prefix: ns, suffix: ["deep"] }, { prefix: ns, maxDepth: 3 }, { prefix: ns, limit: 1, offset: 1 }]) {
    const [ours, theirs] = await both((s) => s.listNamespaces(options));
    expect(ours).toEqual(theirs);
  }
  expect(await store.search(ns, { limit: 0 })).toEqual([]);
  expect((await store.search(ns, { limit: 2, offset: 5 })).length).toBe(2);
});

test("search by words", async () => {
  const ns = fresh();
  await store.put(ns, "boat", { text: "The boat is called Heron" });
  await store.put(ns, "bread", { text: "Rye bread" });
  await store.put(ns, "hidden", { text: "a boat that is not indexed" }, false);
  const found = await store.search(ns, { query: "name of the boats" });
  expect(found.map((f) => f.key)).toEqual(["boat"]);
  expect(found[0].score).toBeGreaterThan(0);
  expect((await store.search(ns))[0].score).toBe(undefined);
});

test("a batch: reads before writes, the last write counts, results in order", async () => {
  const ns = fresh();
  await store.put(ns, "a", { v: 1 });
  const results = await store.batch([
    { namespace: ns, key: "a", value: { v: 2 } },
    { namespace: ns, key: "a" },
    { namespacePrefix: ns, limit: 10, offset: 0 },
    { matchConditions: [{ matchType: "prefix", path: ns }], limit: 10, offset: 0 },
    { namespace: ns, key: "a", value: { v: 3 } },
    { namespace: ns, key: "none", value: null },
    { namespace: ns, key: "none" },
  ]);
  expect(results[0]).toBe(undefined);
  expect(results[1].value).toEqual({ v: 1 });
  expect(bare(results[2])).toEqual([{ namespace: ns, key: "a", value: { v: 1 } }]);
  expect(results[3]).toEqual([ns]);
  expect(results.slice(4)).toEqual([undefined, undefined, null]);
  expect((await store.get(ns, "a")).value).toEqual({ v: 3 });
  expect(await store.batch([])).toEqual([]);
});

test("several conditions of one kind", async () => {
  const ns = fresh();
  for (const p of [["a", "x"], ["b", "x"], ["a", "y"]]) await store.put([...ns, ...p], "k", {});
  const list = async (...paths) => (await store.batch([{ matchConditions: paths.map(([matchType, ...path]) => ({ matchType, path })), limit: 10, offset: 0 }]))[0];
  expect(await list(["prefix", ...ns], ["prefix", "*", "*", "a"])).toEqual([[...ns, "a", "x"], [...ns, "a", "y"]]);
  expect(await list(["prefix", ...ns], ["suffix", "x"], ["suffix", "a", "*"])).toEqual([[...ns, "a", "x"]]);
  expect(await list(["prefix", ...ns, "a"], ["prefix", ...ns, "b"])).toEqual([]);
});

test("refusals", async () => {
  const ns = fresh();
  for (const bad of [[], ["a", ""], ["a.b"], ["langgraph", "x"], ["a", 3]]) await expect(store.put(bad, "k", {})).rejects.toThrow(Error);
  await expect(store.get(["a.b"], "k")).rejects.toMatchObject({ name: "InvalidNamespaceError" });
  await expect(store.search(["a", ""])).rejects.toMatchObject({ name: "InvalidNamespaceError" });
  await expect(store.search(ns, { filter: { x: { $foo: 1 } } })).rejects.toMatchObject({ name: "CenoteError", status: expect.toSatisfy((s) => s === 400 || s === 422) });
  await expect(store.batch([{ namespace: ns, key: "good", value: {} }, { namespace: ns, key: "", value: {} }])).rejects.toThrow(CenoteError);
  expect(await store.get(ns, "good")).toBe(null);
  await expect(store.put(ns, "k", [1])).rejects.toThrow(CenoteError);
});

test("a tenant's items are not another's", async () => {
  const ns = fresh();
  await store.put(ns, "k", { of: "one" });
  const other = new CenoteStore(await house.tenant());
  expect(await other.get(ns, "k")).toBe(null);
  expect(await other.search([])).toEqual([]);
});
