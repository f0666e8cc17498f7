// An agent with both kinds of memory: it asks before it books, remembers the traveller in the next conversation, and goes back in time.
//
//   cenote serve --store sqlite:./data        (in another terminal)
//   node examples/agent.mjs
//
// The model is scripted, so that it runs without a key; put a real chat model in its place.
import { randomUUID } from "node:crypto";
import { AIMessage, HumanMessage, ToolMessage } from "@langchain/core/messages";
import { Command, END, MessagesAnnotation, START, StateGraph, interrupt } from "@langchain/langgraph";
import { CenoteSaver, CenoteStore } from "@cenote/client";

/** Answers what a model would: notes what it is told, wants to book when asked to, and reports. */
const model = {
  async invoke(messages, known) {
    const last = messages.at(-1);
    if (last.getType() === "tool") return new AIMessage(`${last.content}${known.seat ? ` Seat: ${known.seat}, as always.` : ""}`);
    const booking = /book .* to (\w+)/i.exec(last.content);
    if (booking) return new AIMessage({ content: "", tool_calls: [{ id: randomUUID(), name: "book", args: { to: booking[1] } }] });
    const seat = /(window|aisle)/i.exec(last.content);
    if (seat) return new AIMessage({ content: "Noted.", additional_kwargs: { learned: { seat: seat[1].toLowerCase() } } });
    return new AIMessage("How can I help?");
  },
};

async function agent(state, config) {
  const about = ["travellers", config.configurable.traveller];
  const known = (await config.store.get(about, "preferences"))?.value ?? {};
  const answer = await model.invoke(state.messages, known);
  const learned = answer.additional_kwargs.learned;
  if (learned) await config.store.put(about, "preferences", { ...known, ...learned });
  return { messages: [answer] };
}

async function book(state) {
  const call = state.messages.at(-1).tool_calls[0];
  const answer = interrupt({ question: `Book a ticket to ${call.args.to}?` });
  return { messages: [new ToolMessage({ tool_call_id: call.id, content: answer === "yes" ? `Booked: ${call.args.to}.` : "Not booked." })] };
}

const graph = new StateGraph(MessagesAnnotation)
  .addNode("agent", agent)
  .addNode("book", book)
  .addEdge(START, "agent")
  .addConditionalEdges("agent", (s) => (s.messages.at(-1).tool_calls?.length ? "book" : END), ["book", END])
  .addEdge("book", "agent")
  .compile({ checkpointer: new CenoteSaver(), store: new CenoteStore() });

const traveller = `ann-${randomUUID()}`;
const thread = () => ({ configurable: { thread_id: randomUUID(), traveller } });
const say = (text) => ({ messages: [new HumanMessage(text)] });
const lastOf = (state) => state.messages.at(-1).content;

const first = thread();
console.log("1.", lastOf(await graph.invoke(say("I like to sit at the window."), first)));

// Another conversation: the store knows, the checkpoints wait for the answer.
const second = thread();
await graph.invoke(say("Please book a ticket to Lisbon."), second);
const waiting = await graph.getState(second);
console.log("2.", waiting.tasks[0].interrupts[0].value.question);
console.log("3.", lastOf(await graph.invoke(new Command({ resume: "yes" }), second)));

// Time travel: from before the question it is asked anew, and answered otherwise. The first answer stays in the history.
await graph.invoke(null, { configurable: { ...second.configurable, ...waiting.parentConfig.configurable } });
console.log("4.", lastOf(await graph.invoke(new Command({ resume: "no" }), second)));

let steps = 0;
for await (const _ of graph.getStateHistory(second)) steps++;
console.log("5.", `${steps} checkpoints in the second conversation`);
