/**
 * What was said in a thread, as the messages of a LangGraph state: those of chat completions, which MessagesAnnotation and chat models take. So a
 * graph goes on with what was begun in `cenote chat`, over /v1/responses or in a session of the Agents SDK.
 */
import { Transport } from "./transport.js";

const PAGE = 100; // as many items as the server gives at once
const ROLES = new Set(["user", "assistant", "system", "developer"]);
const TEXTS = new Set(["input_text", "output_text", "text", "summary_text"]);

/** A part of a message's content, as chat completions have it; what they do not have stays as it is. */
function part(p) {
  if (typeof p === "string") return { type: "text", text: p };
  if (TEXTS.has(p?.type)) return { type: "text", text: p.text ?? "" };
  if (p?.type === "refusal") return { type: "text", text: p.refusal ?? "" };
  if (p?.type === "input_image" && typeof p.image_url === "string")
    return { type: "image_url", image_url: p.detail == null ? { url: p.image_url } : { url: p.image_url, detail: p.detail } };
  if (p?.type === "input_file") {
    const { type, ...file } = p;
    return { type: "file", file };
  }
  return p;
}

/** A text where there is nothing but texts, else a list of parts. */
function contentOf(content) {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return content == null ? "" : JSON.stringify(content);
  const parts = content.map(part);
  return parts.every((p) => p?.type === "text") ? parts.map((p) => p.text).join("") : parts;
}

/** The arguments of a call, which must be a JSON object where messages are made of it; else kept as text. */
function argumentsOf(text) {
  try {
    const value = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return text;
  } catch {
    // as a model wrote it
  }
  return JSON.stringify({ arguments: text ?? null });
}

/** The output of each call that has one, by the call's position. Ids of calls may come again in later turns. */
function answersOf(items) {
  const waiting = new Map(), found = new Map();
  items.forEach((item, i) => {
    if (item.type === "function_call" && typeof item.call_id === "string" && typeof item.name === "string") {
      if (!waiting.has(item.call_id)) waiting.set(item.call_id, []);
      waiting.get(item.call_id).push(i);
    } else if (item.type === "function_call_output" && waiting.get(item.call_id)?.length) {
      found.set(waiting.get(item.call_id).pop(), item);
    }
  });
  return found;
}

function said(item) {
  const message = { role: item.role, content: contentOf(item.content), id: item.id };
  if (item.role === "assistant" && item.status === "incomplete") message.response_metadata = { status: "incomplete" };
  return message;
}

/** Items of a conversation, the oldest first, as messages. */
function messagesOf(items) {
  const answers = answersOf(items), out = [];
  let asking; // the message of the assistant that calls belong to
  let outputs = []; // of its calls: they follow it at once
  const close = () => {
    if (asking && (asking.content.length || asking.tool_calls)) out.push(asking, ...outputs);
    asking = undefined;
    outputs = [];
  };
  items.forEach((item, i) => {
    if (item.type === "message" && ROLES.has(item.role)) {
      close();
      if (item.role === "assistant") asking = said(item);
      else out.push(said(item));
    } else if (answers.has(i)) {
      if (!asking || (outputs.length && items[i - 1].type === "function_call_output")) {
        close();
        asking = { role: "assistant", content: "", id: item.id };
      }
      asking.tool_calls ??= [];
      asking.tool_calls.push({ id: item.call_id, type: "function", function: { name: item.name, arguments: argumentsOf(item.arguments) } });
      const { id, output } = answers.get(i);
      outputs.push({ role: "tool", content: contentOf(output), tool_call_id: item.call_id, name: item.name, id });
    }
  });
  close();
  return out;
}

/** The newest `limit`; an output whose call is not among them would be refused by models. */
function newest(messages, limit) {
  if (messages.length <= limit) return messages;
  let first = messages.length - limit;
  while (first < messages.length && messages[first].role === "tool") first++;
  return messages.slice(first);
}

export async function threadMessages(threadId, { limit = Infinity, ...options } = {}) {
  if (typeof threadId !== "string" || threadId === "") throw new TypeError("threadId must be a text that is not empty");
  if (limit !== Infinity && (!Number.isInteger(limit) || limit < 0)) throw new TypeError(`limit must be an integer, 0 or above, and is ${limit}`);
  const transport = new Transport(options);
  // "." and ".." would mean something else on the way.
  const name = threadId === "." || threadId === ".." ? threadId.replaceAll(".", "%2E") : encodeURIComponent(threadId);
  const path = `/v1/conversations/${name}/items?order=desc&limit=${PAGE}`;
  const items = [];
  for (let next = path; ; ) {
    let page;
    try {
      page = JSON.parse(new TextDecoder().decode(await transport.get(next)));
    } catch (e) {
      if (e.status === 404 && e.problem?.error) return []; // a conversation that is not there; any other 404 is an error
      throw e;
    }
    items.push(...page.data);
    const messages = page.has_more && limit === Infinity ? [] : messagesOf([...items].reverse());
    // One more than is wanted: the oldest may lack what stands on the next page.
    if (!page.has_more || messages.length > limit) return newest(messages, limit);
    next = `${path}&after=${encodeURIComponent(page.last_id)}`;
  }
}
