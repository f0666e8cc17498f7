/**
 * CenoteStore: LangGraph's store on a Cenote server, over POST /cenote/v1/batch. A batch is one request: reads see what was there before
 * it, its writes are one transaction and of several to one key the last counts. When one operation is refused, nothing of the batch
 * was written.
 */
import { BaseStore, InvalidNamespaceError } from "@langchain/langgraph-checkpoint";
import { Transport, problemError } from "./transport.js";

function checkLabels(labels, what) {
  if (!Array.isArray(labels)) throw new InvalidNamespaceError(`${what} must be an array of strings`);
  for (const label of labels) {
    if (typeof label !== "string") throw new InvalidNamespaceError(`labels of ${what} must be strings, not ${typeof label}`);
    if (label === "" || label.includes(".") || label.includes("\u0000"))
      throw new InvalidNamespaceError(`${JSON.stringify(label)} cannot be a label of ${what}: labels are not empty and have no "." in them`);
  }
  return labels;
}

function checkPut(namespace) {
  checkLabels(namespace, "namespace");
  if (namespace.length === 0) throw new InvalidNamespaceError("namespace must not be empty");
  if (namespace[0] === "langgraph") throw new InvalidNamespaceError('the first label of namespace must not be "langgraph"');
  return namespace;
}

/** All conditions of one kind as one path; null when nothing can meet them all. */
function joined(conditions, kind) {
  let path = [];
  for (const c of conditions) {
    if (c.matchType !== kind) continue;
    const [a, b] = kind === "suffix" ? [path.slice().reverse(), c.path.slice().reverse()] : [path, c.path];
    const both = [];
    for (let i = 0; i < Math.max(a.length, b.length); i++) {
      const x = a[i] ?? "*", y = b[i] ?? "*";
      if (x !== "*" && y !== "*" && x !== y) return null;
      both.push(x === "*" ? y : x);
    }
    path = kind === "suffix" ? both.reverse() : both;
  }
  return path;
}

function listRequest(op) {
  const conditions = op.matchConditions ?? [];
  for (const c of conditions) {
    if (c.matchType !== "prefix" && c.matchType !== "suffix") throw new Error(`matchType must be prefix or suffix, not ${c.matchType}`);
    checkLabels(c.path, c.matchType);
  }
  const prefix = joined(conditions, "prefix");
  const suffix = joined(conditions, "suffix");
  if (prefix === null || suffix === null) return null;
  const out = { op: "list_namespaces", limit: op.limit, offset: op.offset };
  if (prefix.length > 0) out.prefix = prefix;
  if (suffix.length > 0) out.suffix = suffix;
  if (op.maxDepth !== undefined) out.max_depth = op.maxDepth;
  return out;
}

/** The operation as the server has it, or null when the answer is known to be empty. */
function request(op) {
  if ("namespacePrefix" in op) {
    checkLabels(op.namespacePrefix, "namespacePrefix");
    if (op.limit !== undefined && op.limit < 1) return null;
    return { op: "search", namespace: op.namespacePrefix, filter: op.filter, limit: op.limit, offset: op.offset, query: op.query || undefined };
  }
  if ("value" in op) {
    checkPut(op.namespace);
    if (op.value === null || op.value === undefined) return { op: "delete", namespace: op.namespace, key: op.key };
    return { op: "put", namespace: op.namespace, key: op.key, value: op.value, index: op.index };
  }
  if ("key" in op) return { op: "get", namespace: checkLabels(op.namespace, "namespace"), key: op.key };
  return op.limit !== undefined && op.limit < 1 ? null : listRequest(op);
}

function item(it) {
  return { namespace: it.namespace, key: it.key, value: it.value, createdAt: new Date(it.created_at), updatedAt: new Date(it.updated_at) };
}

function result(kind, r) {
  if (r.status === 404 && kind === "get") return null;
  if (r.status === 404 && kind === "delete") return undefined;
  if (r.status >= 400) throw problemError(r.problem, r.status);
  if (kind === "get") return item(r.item);
  if (kind === "search") return r.items.map((it) => ({ ...item(it), score: it.score ?? undefined }));
  return kind === "list_namespaces" ? r.namespaces : undefined;
}

export class CenoteStore extends BaseStore {
  #transport;

  constructor(options = {}) {
    super();
    this.#transport = new Transport(options);
  }

  async batch(operations) {
    const requests = operations.map(request);
    const sent = requests.filter((r) => r !== null);
    let results = [];
    if (sent.length > 0) {
      const body = JSON.stringify({ operations: sent });
      const answer = await this.#transport.post("/cenote/v1/batch?atomic=true", "application/json", body);
      results = JSON.parse(new TextDecoder().decode(answer)).results;
      if (!Array.isArray(results) || results.length !== sent.length)
        throw new Error("the server's answer does not have one result for each operation (is it a Cenote server?)");
    }
    let at = 0;
    return requests.map((r) => (r === null ? [] : result(r.op, results[at++])));
  }
}
