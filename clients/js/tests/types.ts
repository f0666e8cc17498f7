// The types as a program uses them; only compiled.
import { END, MessagesAnnotation, START, StateGraph } from "@langchain/langgraph";
import type { BaseCheckpointSaver, BaseStore } from "@langchain/langgraph-checkpoint";
import { CenoteError, CenoteSaver, CenoteStore, threadMessages, type CenoteOptions } from "@cenote/client";

const options: CenoteOptions = { url: "http://127.0.0.1:8000", apiKey: "k", user: "ann", timeout: 1000, retries: 2, headers: { a: "b" } };
const saver = new CenoteSaver({ ...options, serde: new CenoteSaver().serde });
const store = new CenoteStore(options);
const asSaver: BaseCheckpointSaver<string> = saver;
const asStore: BaseStore = store;

export const graph = new StateGraph(MessagesAnnotation)
  .addNode("n", () => ({ messages: [] }))
  .addEdge(START, "n")
  .addEdge("n", END)
  .compile({ checkpointer: saver, store });

export async function use(): Promise<string[]> {
  const out: string[] = [saver.getNextVersion(undefined), asSaver.getNextVersion("1.0")];
  for await (const tuple of saver.list({ configurable: { thread_id: "1" } }, { limit: 2 })) out.push(tuple.checkpoint.id);
  const n: number = (await saver.prune(["1"], { strategy: "keep_latest" })).checkpoints + (await saver.deleteForRuns(["r"]));
  const [item] = await store.batch([{ namespace: ["a"], key: "k" }]);
  out.push(String(n), String(item?.value.x), String((await asStore.get(["a"], "k"))?.createdAt.getTime()));
  const said = await threadMessages("1", { ...options, limit: 3 });
  await graph.updateState({ configurable: { thread_id: "1" } }, { messages: said });
  out.push(said[0].id, said[0].role);
  // @ts-expect-error: a limit is a number
  await threadMessages("1", { limit: "3" });
  // @ts-expect-error: an unknown strategy
  await saver.prune(["1"], { strategy: "some" });
  // @ts-expect-error: a number is no URL
  new CenoteStore({ url: 1 });
  return out;
}

export function why(e: unknown): string {
  return e instanceof CenoteError ? `${e.status} ${e.field ?? ""} ${e.message}` : String(e);
}
