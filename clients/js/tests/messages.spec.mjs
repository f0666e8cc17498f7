// threadMessages against a real server: the same conversations, with the same outcome, as the Python client's.
import { coerceMessageLikeToMessage } from "@langchain/core/messages";
import { MessagesAnnotation, START, StateGraph } from "@langchain/langgraph";
import { CenoteError, CenoteSaver, threadMessages } from "@cenote/client";
import { openHouse } from "./house.mjs";

let house, where, count = 0;
beforeAll(async () => {
  house = await openHouse();
  where = await house.tenant();
});
afterAll(async () => {
  expect(await house.server.stop()).toBe(0);
});

const user = (text) => ({ role: "user", content: text });
const call = (id, args = "{}") => ({ type: "function_call", call_id: id, name: "find", arguments: args });
const output = (id, text) => ({ type: "function_call_output", call_id: id, output: text });
const said = (text, status = "completed") => ({ type: "message", role: "assistant", status, content: [{ type: "output_text", text }] });
const short = (m) => [m.role, m.content, ...(m.tool_calls ?? []).map((c) => c.id), ...(m.role === "tool" ? [m.tool_call_id] : [])].join("|");

/** A new thread with these items. */
async function keep(items, headers = {}, name = `said-${count++}`) {
  const answer = await fetch(`${where.url}/cenote/v1/sessions/${encodeURIComponent(name)}/items`, {
    method: "POST",
    headers: { authorization: `Bearer ${where.apiKey}`, "content-type": "application/json", ...headers },
    body: JSON.stringify({ items }),
  });
  expect(answer.status).toBe(200);
  return name;
}

test.each([
  [[user("a"), said("b")], ["user|a", "assistant|b"]],
  [[said("See."), call("1"), call("2"), output("2", "two"), output("1", "one"), said("So.")], ["assistant|See.|1|2", "tool|one|1", "tool|two|2", "assistant|So."]],
  [[call("1"), output("1", "one"), call("2"), output("2", "two")], ["assistant||1", "tool|one|1", "assistant||2", "tool|two|2"]],
  [[call("1"), user("never mind"), call("1"), output("1", "one")], ["user|never mind", "assistant||1", "tool|one|1"]],
  [[said("See."), call("1"), call("2"), output("2", "two"), user("x")], ["assistant|See.|2", "tool|two|2", "user|x"]],
  [[user("a"), output("1", "one"), said("", "incomplete"), { type: "reasoning", summary: [] }, said("b")], ["user|a", "assistant|b"]],
  [[{ role: "developer", content: "d" }, call("1"), user("b")], ["developer|d", "user|b"]],
])("items %#", async (items, expected) => {
  const got = await threadMessages(await keep(items), where);
  expect(got.map(short)).toEqual(expected);
  expect(got.map((m) => coerceMessageLikeToMessage(m).id)).toEqual(got.map((m) => m.id));
  expect(new Set(got.map((m) => m.id)).size).toBe(got.length);
});

test("what messages are made of", async () => {
  const image = { type: "input_image", image_url: "data:image/png;base64,AAAA", detail: "low" };
  const name = await keep([user([{ type: "input_text", text: "What?" }, image]), said("A b", "incomplete"), call("1", '{"a": 1}'), call("2", "{x"), call("3", "[1]"),
                           output("1", [{ type: "input_text", text: "one" }]), output("2", "2"), output("3", "3")]);
  const [question, answer, ...tools] = (await threadMessages(name, where)).map((m) => coerceMessageLikeToMessage(m));
  expect(question.content).toEqual([{ type: "text", text: "What?" }, { type: "image_url", image_url: { url: image.image_url, detail: "low" } }]);
  expect([answer.content, answer.response_metadata.status]).toEqual(["A b", "incomplete"]);
  expect(answer.tool_calls.map((c) => c.args)).toEqual([{ a: 1 }, { arguments: "{x" }, { arguments: "[1]" }]);
  expect(tools.map((t) => [t.content, t.name, t.tool_call_id])).toEqual([["one", "find", "1"], ["2", "find", "2"], ["3", "find", "3"]]);
});

test("limits", async () => {
  const items = [];
  for (let i = 0; i < 40; i++) items.push(user(`q${i}`), said("See."), call("a"), call("b"), output("a", "1"), output("b", "2"), said(`a${i}`));
  const name = await keep(items);
  const whole = await threadMessages(name, where);
  expect(whole.length).toBe(200);
  for (const limit of [0, 1, 2, 3, 4, 5, 6, 68, 69, 70, 71, 72, 73, 199, 200, 201]) {
    const got = await threadMessages(name, { ...where, limit });
    expect(got).toEqual(whole.slice(200 - got.length));
    expect(got.length).toBeLessThanOrEqual(limit);
    expect(got.length).toBeGreaterThanOrEqual(Math.min(limit, 200) - 2);
    expect(got[0]?.role).not.toBe("tool");
  }
  for (const limit of [-1, 1.5, "3"]) await expect(threadMessages(name, { ...where, limit })).rejects.toThrow("limit must be");
  await expect(threadMessages("", where)).rejects.toThrow(TypeError);
});

test("whose and which", async () => {
  const name = await keep([user("secret")], { "x-cenote-user": "ann" });
  expect(await threadMessages(name, { ...where, user: "bob" })).toEqual([]);
  expect((await threadMessages(name, { ...where, user: "ann" })).map(short)).toEqual(["user|secret"]);
  expect(await threadMessages("nowhere", where)).toEqual([]);
  for (const odd of ["a/b", "?x=1", "é😀", "%2F"]) expect((await threadMessages(await keep([user(odd)], {}, odd), where)).map(short)).toEqual([`user|${odd}`]);
  await expect(threadMessages(name, { ...where, url: `${where.url}/elsewhere`, retries: 0 })).rejects.toThrow(CenoteError);
});

test("a graph goes on", async () => {
  const name = await keep([user("My cat is called Ada."), call("1"), output("1", "none"), said("Noted.")]);
  const graph = new StateGraph(MessagesAnnotation)
    .addNode("answer", (s) => ({ messages: [{ role: "assistant", content: `${s.messages.length} so far` }] }))
    .addEdge(START, "answer")
    .compile({ checkpointer: new CenoteSaver(where) });
  const config = { configurable: { thread_id: name } };
  for (let i = 0; i < 2; i++) await graph.updateState(config, { messages: await threadMessages(name, where) }, "answer");
  const state = await graph.invoke({ messages: [user("What is she called?")] }, config);
  expect(state.messages.map((m) => `${m.getType()} ${m.content}`)).toEqual(
    ["human My cat is called Ada.", "ai ", "tool none", "ai Noted.", "human What is she called?", "ai 5 so far"]);
  expect(state.messages[1].tool_calls).toEqual([{ id: "1", type: "tool_call", name: "find", args: {} }]);
});
