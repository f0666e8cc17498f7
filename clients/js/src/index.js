/** Checkpoints, long-term memory and conversations for LangGraph.js, kept by a Cenote server. */
export { threadMessages } from "./messages.js";
export { CenoteSaver } from "./saver.js";
export { CenoteStore } from "./store.js";
export { CenoteError } from "./transport.js";
