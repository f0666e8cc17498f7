// A real `cenote serve` on a free port; ready when its ready line says so.
import { execFile, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve, dirname } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const tree = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");

// folder: one that stays, of a server that was there before; listen: a port that was free; alone: on a store that no other test writes to.
export async function startServer({ args = [], folder: given, listen = "127.0.0.1:0", alone = false } = {}) {
  const folder = given ?? mkdtempSync(join(tmpdir(), "cenote-js-"));
  const env = Object.fromEntries(Object.entries(process.env).filter(([k]) => !k.startsWith("CENOTE_")));
  const binary = process.env.CENOTE_BIN ? resolve(process.env.CENOTE_BIN) : join(tree, "build/cenote");
  // tests/wire/postgres.py gives an empty database for the time of a run
  const store = (!alone && process.env.CENOTE_TEST_DATABASE) || `sqlite:${join(folder, "data")}`;
  const own = { ...env, CENOTE_DATA: join(folder, "data"), CENOTE_STORE: store, XDG_CONFIG_HOME: folder };
  const child = spawn(binary, ["serve", "--listen", listen, ...args], { env: own, stdio: ["ignore", "ignore", "pipe"] });
  const ended = new Promise((done) => child.on("exit", (code) => done(code)));
  const log = [];
  const url = await new Promise((ready, failed) => {
    createInterface({ input: child.stderr }).on("line", (line) => {
      log.push(line);
      if (line.startsWith("cenote: listening on http://")) ready(line.slice("cenote: listening on ".length).trim());
    });
    child.on("error", failed);
    ended.then((code) => failed(new Error(`ended with ${code}: ${log.join("\n")}`)));
  });
  return {
    url,
    folder,
    // The command line against this server; its stdout.
    async run(...words) {
      return (await promisify(execFile)(binary, words, { env: own })).stdout;
    },
    async stop({ keep = false } = {}) {
      child.kill("SIGTERM");
      const code = await ended;
      if (!keep) rmSync(folder, { recursive: true, force: true });
      return code;
    },
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

// The SDKs are installed below build/, outside this folder: resolved from there.
export async function load(name) {
  const modules = process.env.CENOTE_NODE_MODULES ?? join(tree, "build/js/node_modules");
  const { createRequire } = await import("node:module");
  return createRequire(join(modules, "x.js"))(name);
}

export const sdk = () => load("@langchain/langgraph-sdk");
