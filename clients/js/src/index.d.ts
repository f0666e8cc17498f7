import type { RunnableConfig } from "@langchain/core/runnables";
import {
  BaseCheckpointSaver,
  BaseStore,
  type ChannelVersions,
  type Checkpoint,
  type CheckpointListOptions,
  type CheckpointMetadata,
  type CheckpointTuple,
  type DeltaChannelHistory,
  type Operation,
  type OperationResults,
  type PendingWrite,
  type SerializerProtocol,
} from "@langchain/langgraph-checkpoint";

export interface CenoteOptions {
  /** Where the server is. Default: CENOTE_SERVER of the environment, else http://127.0.0.1:8000. */
  url?: string;
  /** Default: CENOTE_API_KEY of the environment. */
  apiKey?: string;
  /** Whose memory it is, where the key is not bound to a user. */
  user?: string;
  /** Milliseconds that a call may take, with all its attempts. Default 60,000; 0: no end. */
  timeout?: number;
  /** How often a call is tried again when the server cannot be reached or is busy. Default 5. */
  retries?: number;
  /** Further headers of every request. */
  headers?: Record<string, string>;
  /** Instead of the global fetch. */
  fetch?: typeof globalThis.fetch;
}

export interface CenoteSaverOptions extends CenoteOptions {
  /** How values become bytes. Default: LangGraph's JsonPlusSerializer. */
  serde?: SerializerProtocol;
}

/**
 * Keeps the checkpoints of LangGraph.js graphs on a Cenote server. Versions are strings; the types say `any`, because `compile()` asks for a
 * saver with numbers, though graphs take both.
 */
export declare class CenoteSaver extends BaseCheckpointSaver<any> {
  constructor(options?: CenoteSaverOptions);
  getTuple(config: RunnableConfig): Promise<CheckpointTuple | undefined>;
  /** Newest first; of all threads when the config names none. */
  list(config: RunnableConfig, options?: CheckpointListOptions): AsyncGenerator<CheckpointTuple>;
  put(config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, newVersions: ChannelVersions): Promise<RunnableConfig>;
  putWrites(config: RunnableConfig, writes: PendingWrite[], taskId: string): Promise<void>;
  deleteThread(threadId: string): Promise<void>;
  getDeltaChannelHistory(options: { config: RunnableConfig; channels: string[] }): Promise<Record<string, DeltaChannelHistory>>;
  getNextVersion(current: string | number | undefined): any;
  /** Removes the checkpoints of these runs (metadata.run_id) in all threads; says how many went. */
  deleteForRuns(runIds: string[]): Promise<number>;
  /** Copies everything of a thread to another name, which must not have checkpoints yet. */
  copyThread(source: string, target: string): Promise<void>;
  /** Keeps the newest checkpoint of every namespace and what it needs ("keep_latest"), or nothing ("delete"). */
  prune(threadIds: string[], options?: { strategy?: "keep_latest" | "delete" }): Promise<{ threads: number; checkpoints: number }>;
}

/** LangGraph's long-term memory on a Cenote server. */
export declare class CenoteStore extends BaseStore {
  constructor(options?: CenoteOptions);
  batch<Op extends Operation[]>(operations: Op): Promise<OperationResults<Op>>;
}

/** A message in the form of chat completions. */
export interface ThreadMessage {
  role: "user" | "assistant" | "system" | "developer" | "tool";
  /** A text, or parts where there is something else than texts. */
  content: any;
  /** Of its item in the conversation: what is put into a state twice is there once. */
  id: string;
  tool_calls?: { id: string; type: "function"; function: { name: string; arguments: string } }[];
  tool_call_id?: string;
  name?: string;
  /** `{ status: "incomplete" }` of an answer that broke off. */
  response_metadata?: Record<string, unknown>;
}

/**
 * What was said in a thread (a chat, a conversation, a session), the oldest first, as the messages of a graph's state. With `limit` at most so many,
 * the newest. A call of a tool without an output, an output without its call and items of other kinds are left out. A thread that is not
 * there, or is another user's, has no messages.
 */
export declare function threadMessages(threadId: string, options?: CenoteOptions & { limit?: number }): Promise<ThreadMessage[]>;

/** What the server refused, or that it could not be asked. */
export declare class CenoteError extends Error {
  name: "CenoteError";
  /** HTTP status; 0 when there was no answer. */
  status: number;
  /** What was wrong, as a JSON pointer or the name of a parameter. */
  field?: string;
  requestId?: string;
  /** The problem document (RFC 9457) as it came. */
  problem?: Record<string, unknown>;
}
