/**
 * Requests to a Cenote server over fetch, whose connections are kept alive and shared by everything in the process.
 *
 * Everything that is sent here may be sent twice without harm. So what failed for a reason that passes - no connection, an answer cut off,
 * 429, 502, 503, 504 - is tried again, with growing pauses, until it works, the attempts are used up or the time is over.
 */

const PAUSE_MS = 100;
const PAUSE_MAX_MS = 2000;
const PASSING = new Set([429, 502, 503, 504]);

/** What the server refused, or that it could not be asked (then `status` is 0). */
export class CenoteError extends Error {
  constructor(message, { status = 0, field, requestId, problem, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "CenoteError";
    this.status = status;
    this.field = field;
    this.requestId = requestId;
    this.problem = problem;
  }
}

/** The error of a problem document (RFC 9457). */
export function problemError(problem, status, requestId) {
  const code = status ?? problem?.status ?? 0;
  const detail = problem?.detail ?? problem?.title ?? problem?.error?.message ?? `the server answered with status ${code}`;
  const id = requestId ?? problem?.request_id;
  return new CenoteError(id ? `${detail} [req ${id}]` : detail, { status: code, field: problem?.errors?.[0]?.field, requestId: id, problem });
}

function setting(given, name) {
  const env = typeof process === "undefined" ? undefined : process.env?.[name];
  return given ?? (env || undefined);
}

function positive(value, name, fallback) {
  if (value === undefined) return fallback;
  if (!Number.isFinite(value) || value < 0) throw new TypeError(`${name} must be a number, 0 or above, and is ${value}`);
  return value;
}

function baseUrl(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    throw new TypeError(`url must be an address such as http://127.0.0.1:8000, and is ${JSON.stringify(text)}`);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") throw new TypeError(`url must begin with http:// or https://, and is ${text}`);
  if (url.username || url.password) throw new TypeError("url must not contain a name or password; give the key as apiKey");
  return `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
}

export class Transport {
  #base;
  #headers;
  #timeout;
  #retries;
  #fetch;

  constructor(options = {}) {
    const key = setting(options.apiKey, "CENOTE_API_KEY");
    this.#base = baseUrl(setting(options.url, "CENOTE_SERVER") ?? "http://127.0.0.1:8000");
    this.#headers = { ...options.headers };
    if (key) this.#headers.authorization = `Bearer ${key}`;
    if (options.user !== undefined) this.#headers["x-cenote-user"] = options.user;
    this.#timeout = positive(options.timeout, "timeout", 60_000);
    this.#retries = positive(options.retries, "retries", 5);
    this.#fetch = options.fetch ?? globalThis.fetch;
    if (typeof this.#fetch !== "function") throw new TypeError("there is no fetch here; give one as fetch");
  }

  /** POST; the body of the answer as bytes. */
  post(path, type, body) {
    return this.#call("POST", path, { "content-type": type }, body);
  }

  /** GET; the same. */
  get(path) {
    return this.#call("GET", path, {}, undefined);
  }

  async #call(method, path, headers, body) {
    const end = this.#timeout > 0 ? Date.now() + this.#timeout : Infinity;
    for (let attempt = 0; ; attempt++) {
      const { bytes, error, wait } = await this.#once(method, path, headers, body, end);
      if (bytes) return bytes;
      const pause = Math.max(wait ?? 0, Math.min(PAUSE_MS * 2 ** attempt, PAUSE_MAX_MS) * (0.5 + Math.random() / 2));
      if (wait === null || attempt >= this.#retries || Date.now() + pause >= end) throw error;
      await new Promise((done) => setTimeout(done, pause));
    }
  }

  /** One attempt: {bytes}, or {error, wait}: wait null when it makes no sense to try again, else at least so many milliseconds before. */
  async #once(method, path, headers, body, end) {
    const left = Math.min(end - Date.now(), 2 ** 31 - 1);
    const signal = this.#timeout > 0 ? AbortSignal.timeout(Math.max(left, 1)) : undefined;
    let answer, bytes;
    try {
      answer = await this.#fetch(this.#base + path, {
        method,
        headers: { ...this.#headers, ...headers },
        body,
        redirect: "error",
        signal,
      });
      bytes = new Uint8Array(await answer.arrayBuffer());
    } catch (cause) {
      if (signal?.aborted) return { error: new CenoteError(`${this.#base} did not answer within ${this.#timeout} ms`, { cause }), wait: null };
      return { error: new CenoteError(`cannot reach ${this.#base}: ${cause?.cause?.message || cause?.message || cause}`, { cause }), wait: 0 };
    }
    if (answer.ok) return { bytes };
    let problem;
    try {
      problem = JSON.parse(new TextDecoder().decode(bytes));
    } catch {
      problem = undefined; // a proxy's page
    }
    const error = problemError(problem, answer.status, answer.headers.get("x-request-id") ?? undefined);
    const after = Number(answer.headers.get("retry-after"));
    return { error, wait: PASSING.has(answer.status) ? Math.min(after > 0 ? after * 1000 : 0, 30_000) : null };
  }
}
