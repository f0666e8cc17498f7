// Embeddings and models through the unmodified openai client for JavaScript, with a scripted service behind Cenote.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { load, startServer } from "./server.js";

// Vectors (length of the text, 1), in floats as Cenote asks for them; status: what the next requests get instead.
const service = { asked: [], status: [] };
let server, client, OpenAI;
before(async () => {
  const http = createServer(async (req, res) => {
    let body = "";
    for await (const piece of req) body += piece;
    const status = service.status.shift() ?? 200;
    const { input, model } = JSON.parse(body);
    service.asked.push({ path: req.url, input });
    res.writeHead(status, { "Content-Type": "application/json" });
    const data = input.map((text, index) => ({ object: "embedding", index, embedding: [text.length, 1] }));
    res.end(JSON.stringify(status === 200 ? { object: "list", data, model, usage: { prompt_tokens: 5, total_tokens: 5 } } : {}));
  });
  await new Promise((ready) => http.listen(0, "127.0.0.1", ready));
  service.stop = () => new Promise((done) => (http.closeAllConnections(), http.close(done)));
  // Alone: of texts in the store vectors are asked for in the background.
  server = await startServer({ alone: true, args: ["--embed-base-url", `http://127.0.0.1:${http.address().port}/v1/`, "--embed-model", "org/scripted"] });
  ({ default: OpenAI } = await load("openai"));
  client = new OpenAI({ apiKey: "x", baseURL: `${server.url}/v1`, maxRetries: 0 });
});
after(async () => {
  assert.equal(await server.stop(), 0, "SIGTERM ends it with 0");
  await service.stop();
});

const near = (got, want) => {
  assert.equal(got.length, want.length);
  got.forEach((x, i) => assert.ok(Math.abs(x - want[i]) < 1e-6, `${got} is not ${want}`));
};

test("embeddings in both forms", async () => {
  for (const encoding_format of [undefined, "float", "base64"]) {
    const r = await client.embeddings.create({ model: "org/scripted", input: ["abc", ""], encoding_format });
    assert.deepEqual(r.data.map((d) => d.index), [0, 1]);
    let vectors = r.data.map((d) => d.embedding);
    if (encoding_format === "base64") vectors = vectors.map((v) => (typeof v === "string" ? [...new Float32Array(Uint8Array.from(Buffer.from(v, "base64")).buffer)] : v));
    near(vectors[0], [3 / Math.sqrt(10), 1 / Math.sqrt(10)]);
    near(vectors[1], [Math.SQRT1_2, Math.SQRT1_2]); // an empty text is asked for as a blank
    assert.equal(r.model, "org/scripted");
  }
  assert.deepEqual(service.asked, [{ path: "/v1/embeddings", input: ["abc", " "] }]); // the rest came from the cache
});

test("many texts", async () => {
  const input = Array.from({ length: 2048 }, (_, i) => `t${i}`);
  const r = await client.embeddings.create({ model: "org/scripted", input });
  assert.equal(r.data.length, 2048);
  near(r.data[1000].embedding, [5 / Math.sqrt(26), 1 / Math.sqrt(26)]);
});

test("models", async () => {
  const found = [];
  for await (const m of client.models.list()) found.push(m.id);
  assert.deepEqual(found, ["org/scripted"]);
  assert.equal((await client.models.retrieve("org/scripted")).object, "model");
});

test("refusals", async () => {
  const refused = (body, kind, part) => assert.rejects(client.embeddings.create({ model: "org/scripted", input: "x", ...body }),
    (e) => e instanceof kind && e.message.includes(part) || assert.fail(String(e)));
  await refused({ input: [1, 2] }, OpenAI.BadRequestError, "tokens");
  await refused({ dimensions: 5 }, OpenAI.BadRequestError, "2 dimensions");
  await refused({ model: "other" }, OpenAI.NotFoundError, "org/scripted");
  service.status = [400];
  await refused({ input: "y" }, OpenAI.BadRequestError, "refused the texts");
  service.status = [500, 500, 500];
  await refused({ input: "z" }, OpenAI.InternalServerError, "answered 500");
});
