// Conversations through the unmodified openai client for JavaScript, and the Agents SDK's OpenAIConversationsSession over them.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { load, startServer } from "./server.js";

let server, client, Agents, OpenAI;
before(async () => {
  server = await startServer();
  ({ default: OpenAI } = await load("openai"));
  Agents = await load("@openai/agents");
  Agents.setTracingDisabled(true);
  client = new OpenAI({ apiKey: "x", baseURL: `${server.url}/v1`, maxRetries: 0 });
});
after(async () => assert.equal(await server.stop(), 0, "SIGTERM ends it with 0"));

const user = (content) => ({ role: "user", content });
const brief = (items) => items.map((i) => i.content?.[0]?.text ?? i.content ?? i.type);
const all = async (pages) => {
  const found = [];
  for await (const item of pages) found.push(item);
  return found;
};
const session = (conversationId) => new Agents.OpenAIConversationsSession({ conversationId, client });

// Says what the script tells it; `seen` holds what it was given.
class Scripted {
  constructor(...turns) {
    this.turns = turns;
    this.seen = [];
  }
  async getResponse(request) {
    this.seen.push(request.input);
    const output = this.turns.shift();
    if (output instanceof Error) throw output;
    return { output, usage: new Agents.Usage() };
  }
  async *getStreamedResponse() {
    throw new Error("the tests do not stream");
  }
}
const say = (text) => ({ type: "message", role: "assistant", status: "completed", content: [{ type: "output_text", text }] });
const call = (callId, a) => ({ type: "function_call", callId, name: "add", arguments: JSON.stringify({ a, b: 2 }), status: "completed" });

async function run(on, text, ...turns) {
  const model = new Scripted(...turns);
  const add = Agents.tool({
    name: "add",
    description: "Adds.",
    strict: false,
    parameters: { type: "object", properties: { a: { type: "number" }, b: { type: "number" } }, required: ["a", "b"], additionalProperties: true },
    execute: async ({ a, b }) => String(a + b),
  });
  const agent = new Agents.Agent({ name: "calculator", instructions: "Add.", model, tools: [add] });
  model.result = await new Agents.Runner({ tracingDisabled: true }).run(agent, text, { session: on });
  return model;
}

test("create, retrieve, update, delete", async () => {
  const made = await client.conversations.create({ metadata: { topic: "demo" }, items: [user("one")] });
  assert.equal(made.object, "conversation");
  assert.match(made.id, /^conv_/);
  assert.deepEqual(await client.conversations.retrieve(made.id), made);
  assert.deepEqual((await client.conversations.update(made.id, { metadata: { a: "b" } })).metadata, { a: "b" });
  assert.deepEqual(await client.conversations.delete(made.id), { id: made.id, object: "conversation.deleted", deleted: true });
  await assert.rejects(client.conversations.retrieve(made.id), OpenAI.NotFoundError);
});

test("items: pages, order, one of them", async () => {
  const { id } = await client.conversations.create({});
  const want = Array.from({ length: 130 }, (_, i) => `n${i} é 🌉`);
  const added = await client.conversations.items.create(id, { items: want.map(user), include: ["message.output_text.logprobs"] });
  assert.equal(added.data.length, 130);
  assert.deepEqual(brief(await all(client.conversations.items.list(id, { order: "asc" }))), want);
  assert.deepEqual(brief(await all(client.conversations.items.list(id, { limit: 50 }))), [...want].reverse());
  const page = await client.conversations.items.list(id, { limit: 5000, order: "desc" });
  assert.equal(page.data.length, 100);
  assert.equal(page.has_more, true);
  const item = page.data[0];
  assert.deepEqual(await client.conversations.items.retrieve(item.id, { conversation_id: id }), item);
  assert.equal((await client.conversations.items.delete(item.id, { conversation_id: id })).id, id);
  await assert.rejects(client.conversations.items.retrieve(item.id, { conversation_id: id }), OpenAI.NotFoundError);
});

test("names that need encoding", async () => {
  for (const name of ["a b", "a/b", "ü 💧", "%2F"]) {
    const put = await fetch(`${server.url}/cenote/v1/sessions/${encodeURIComponent(name)}/items`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ items: [user("x")] }),
    });
    assert.equal(put.status, 200);
    assert.equal((await client.conversations.retrieve(name)).id, name);
    assert.deepEqual(brief(await all(client.conversations.items.list(name))), ["x"]);
  }
});

test("errors have classes, codes and parameters", async () => {
  const { id } = await client.conversations.create({});
  await assert.rejects(client.conversations.items.create(id, { items: [{ role: "nobody", content: "x" }] }), (e) => {
    assert.ok(e instanceof OpenAI.BadRequestError);
    assert.equal(e.status, 400);
    assert.equal(e.type, "invalid_request_error");
    assert.equal(e.param, "items[0].role");
    assert.ok(e.requestID);
    return true;
  });
  await assert.rejects(client.completions.create({ model: "m", prompt: "x" }), (e) => e instanceof OpenAI.NotFoundError && /conversations/.test(e.message));
});

test("a run of an agent", async () => {
  const s = session();
  await run(s, "1+2?", [call("c1", 1)], [say("3 é 🌉")]);
  const model = await run(s, "and 5+2?", [call("c2", 5)], [say("7")]);
  assert.match(await s.getSessionId(), /^conv_/);
  const want = ["1+2?", "function_call", "function_call_result", "3 é 🌉", "and 5+2?", "function_call", "function_call_result", "7"];
  assert.deepEqual(brief(await s.getItems()), want);
  assert.deepEqual(brief(await s.getItems(3)), want.slice(-3));
  assert.deepEqual(await s.getItems(0), []);
  assert.equal(model.seen[0].length, 5);
  assert.deepEqual(brief([await s.popItem()]), ["7"]);
  assert.deepEqual(brief(await s.getItems()), want.slice(0, -1));
  const other = session(await s.getSessionId());
  await run(other, "thanks", [say("you are welcome")]);
  assert.deepEqual(brief(await s.getItems(2)), ["thanks", "you are welcome"]);
  await s.clearSession();
  assert.deepEqual(await s.getItems(), []);
  await assert.rejects(other.getItems(), OpenAI.NotFoundError);
});

test("25 items at once, limits above a page, pop until it is empty", async () => {
  const s = session();
  const want = Array.from({ length: 25 }, (_, i) => `n${i}`);
  await s.addItems(want.map((t) => ({ type: "message", role: "user", content: t })));
  assert.deepEqual(brief(await s.getItems()), want);
  assert.deepEqual(brief(await s.getItems(3)), want.slice(-3));
  await s.addItems(Array.from({ length: 125 }, (_, i) => ({ type: "message", role: "user", content: `m${i}` })));
  assert.deepEqual(brief(await s.getItems(140)).slice(0, 16), [...want.slice(-15), "m0"]);
  for (let i = 124; i >= 0; i--) assert.deepEqual(brief([await s.popItem()]), [`m${i}`]);
  for (const t of [...want].reverse()) assert.deepEqual(brief([await s.popItem()]), [t]);
  assert.equal(await s.popItem(), undefined);
});

test("two sessions do not see each other", async () => {
  const [a, b] = [session(), session()];
  await Promise.all([a.addItems([{ type: "message", role: "user", content: "a" }]), b.addItems([{ type: "message", role: "user", content: "b" }])]);
  assert.deepEqual(brief(await a.getItems()), ["a"]);
  assert.deepEqual(brief(await b.getItems()), ["b"]);
  await b.clearSession();
  assert.deepEqual(brief(await a.getItems()), ["a"]);
});

test("responses that follow each other", async () => {
  // The model "none" listens: what is said is kept.
  const ask = (input, previous_response_id) => client.responses.create({ model: "none", input, previous_response_id });
  const first = await ask("one");
  const second = await ask("two", first.id);
  assert.deepEqual([second.previous_response_id, second.store, second.conversation], [first.id, true, null]);
  assert.equal((await client.responses.retrieve(second.id)).previous_response_id, first.id);
  assert.deepEqual(brief(await all(client.responses.inputItems.list(second.id))), ["two"]);
  await client.responses.delete(first.id);
  await assert.rejects(client.responses.retrieve(first.id), OpenAI.NotFoundError);
  await assert.rejects(ask("three", first.id), (e) => e.status === 404 && e.code === "previous_response_not_found");
  await ask("three", second.id);
});
