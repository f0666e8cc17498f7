// Real LangGraph.js graphs: what they do on CenoteSaver is what they do on MemorySaver.
import { spawn } from "node:child_process";
import { AIMessage, HumanMessage } from "@langchain/core/messages";
import { Annotation, Command, END, MessagesAnnotation, START, Send, StateGraph, interrupt } from "@langchain/langgraph";
import { MemorySaver } from "@langchain/langgraph-checkpoint";
import { CenoteSaver, CenoteStore } from "@cenote/client";
import { openHouse } from "./house.mjs";

let house, where;
beforeAll(async () => {
  house = await openHouse();
  where = await house.tenant();
});
afterAll(async () => {
  expect(await house.server.stop()).toBe(0);
});

/** What a state shows, without ids and times that differ from run to run. */
function shown(s) {
  return {
    values: JSON.parse(JSON.stringify(s.values, (k, v) => (k === "id" ? undefined : v))),
    next: s.next,
    step: s.metadata?.step,
    source: s.metadata?.source,
    parents: Object.keys(s.metadata?.parents ?? {}),
    hasParent: s.parentConfig !== undefined,
    tasks: s.tasks.map((t) => ({ name: t.name, interrupts: t.interrupts.map((i) => i.value), error: t.error && String(t.error.message ?? t.error) })),
  };
}
async function history(graph, config) {
  const out = [];
  for await (const s of graph.getStateHistory(config)) out.push(shown(s));
  return out;
}
/** Runs the scenario on both savers; both must tell the same. */
async function same(scenario) {
  const run = async (checkpointer, name) => scenario(checkpointer, { configurable: { thread_id: name } });
  const name = `g-${Math.random()}`;
  const ours = await run(new CenoteSaver(where), name);
  const theirs = await run(new MemorySaver(), name);
  expect(ours).toEqual(theirs);
  return ours;
}

const Trip = Annotation.Root({
  log: Annotation({ reducer: (a, b) => a.concat(b), default: () => [] }),
  answer: Annotation,
});

test("interrupt, resume, time travel, update_state", async () => {
  const told = await same(async (checkpointer, config) => {
    const graph = new StateGraph(Trip)
      .addNode("plan", (s) => ({ log: [`plan ${s.log.length}`] }))
      .addNode("ask", () => ({ answer: interrupt({ question: "go?" }), log: ["asked"] }))
      .addNode("go", (s) => ({ log: [`go ${s.answer}`] }))
      .addEdge(START, "plan")
      .addEdge("plan", "ask")
      .addEdge("ask", "go")
      .addEdge("go", END)
      .compile({ checkpointer });
    const out = [];
    await graph.invoke({ log: ["start"] }, config);
    const waiting = await graph.getState(config);
    out.push(shown(waiting));
    out.push(await graph.invoke(new Command({ resume: "yes" }), config));
    out.push(await graph.invoke(new Command({ resume: "no" }), waiting.config)); // the answer that was given there counts
    await graph.invoke(null, waiting.parentConfig); // from before the question: it is asked anew
    out.push(await graph.invoke(new Command({ resume: "no" }), config));
    out.push(shown(await graph.getState(config)));
    await graph.updateState(config, { log: ["patched"] }, "go");
    out.push(shown(await graph.getState(config)));
    out.push(await history(graph, config));
    const old = [];
    for await (const s of graph.getStateHistory(config, { limit: 2 })) old.push(shown(s));
    return [out, old];
  });
  expect(told[0][1].log.at(-1)).toBe("go yes");
  expect(told[0][3].log.at(-1)).toBe("go no");
});

test("Send, parallel nodes, a failing node that is resumed", async () => {
  const told = await same(async (checkpointer, config) => {
    let broken = true;
    const graph = new StateGraph(Trip)
      .addNode("split", () => ({}))
      .addNode("work", (s) => {
        if (s.n === 2 && broken) throw new Error("broken");
        return { log: [`work ${s.n}`] };
      })
      .addNode("left", () => ({ log: ["left"] }))
      .addNode("right", () => ({ log: ["right"] }))
      .addNode("join", (s) => ({ log: [`joined ${s.log.length}`] }))
      .addEdge(START, "split")
      .addConditionalEdges("split", () => [1, 2, 3].map((n) => new Send("work", { n })).concat([new Send("left", {}), new Send("right", {})]))
      .addEdge("work", "join")
      .addEdge("left", "join")
      .addEdge("right", "join")
      .compile({ checkpointer });
    await expect(graph.invoke({ log: [] }, config)).rejects.toThrow("broken");
    const failed = shown(await graph.getState(config));
    broken = false;
    const done = await graph.invoke(null, config); // only what failed runs again
    return [failed, done, await history(graph, config)];
  });
  expect(told[1].log.slice().sort()).toEqual(["joined 5", "left", "right", "work 1", "work 2", "work 3"]);
});

test("a subgraph with an interrupt of its own", async () => {
  await same(async (checkpointer, config) => {
    const inner = new StateGraph(Trip)
      .addNode("deep", () => ({ log: [`deep ${interrupt("how deep?")}`] }))
      .addEdge(START, "deep")
      .compile();
    const graph = new StateGraph(Trip)
      .addNode("before", () => ({ log: ["before"] }))
      .addNode("inner", inner)
      .addEdge(START, "before")
      .addEdge("before", "inner")
      .compile({ checkpointer });
    const out = [];
    await graph.invoke({ log: [] }, config);
    const s = await graph.getState(config, { subgraphs: true });
    out.push(shown(s), shown(s.tasks[0].state));
    out.push(await graph.invoke(new Command({ resume: "very" }), config));
    out.push(await history(graph, config));
    return out;
  });
});

test("messages over many turns, from two processes' savers", async () => {
  const build = () =>
    new StateGraph(MessagesAnnotation)
      .addNode("echo", (s) => ({ messages: [new AIMessage(`${s.messages.length}: ${s.messages.at(-1).content}`)] }))
      .addEdge(START, "echo")
      .compile({ checkpointer: new CenoteSaver(where) });
  const config = { configurable: { thread_id: `chat-${Math.random()}` } };
  for (let i = 0; i < 20; i++) {
    const { messages } = await build().invoke({ messages: [new HumanMessage(`turn ${i}`)] }, config);
    expect(messages.length).toBe(2 * i + 2);
    expect(messages.at(-1)).toBeInstanceOf(AIMessage);
    expect(messages.at(-1).content).toBe(`${2 * i + 1}: turn ${i}`);
  }
});

test("a store inside a graph", async () => {
  const graph = new StateGraph(Trip)
    .addNode("learn", async (s, config) => {
      await config.store.put(["facts"], "one", { text: s.answer });
      return { log: [String((await config.store.get(["facts"], "one")).value.text)] };
    })
    .addEdge(START, "learn")
    .compile({ checkpointer: new CenoteSaver(where), store: new CenoteStore(where) });
  const out = await graph.invoke({ answer: "the heron is a boat" }, { configurable: { thread_id: `s-${Math.random()}` } });
  expect(out.log).toEqual(["the heron is a boat"]);
});

test("the example runs", async () => {
  const child = spawn(process.execPath, ["node_modules/@cenote/client/examples/agent.mjs"], {
    env: { ...process.env, CENOTE_SERVER: where.url, CENOTE_API_KEY: where.apiKey },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout.on("data", (d) => (text += d));
  const code = await new Promise((done) => child.on("exit", done));
  expect(code).toBe(0);
  expect(text.trim().split("\n").slice(0, 4)).toEqual([
    "1. Noted.",
    "2. Book a ticket to Lisbon?",
    "3. Booked: Lisbon. Seat: window, as always.",
    "4. Not booked. Seat: window, as always.",
  ]);
  expect(text).toMatch(/5\. \d+ checkpoints/);
});
