// A server for a file of tests, and empty tenants of it: each key opens one of its own.
import { startServer } from "./server.js";

let count = 0;

export async function openHouse(...args) {
  const server = await startServer({ args: ["--auth", "keys", ...args] });
  return {
    server,
    async tenant() {
      const name = `js${process.pid}-${count++}`;
      const made = JSON.parse(await server.run("key", "create", "--json", "--name", name, "--tenant", name));
      return { url: server.url, apiKey: made.key ?? made.secret };
    },
  };
}
