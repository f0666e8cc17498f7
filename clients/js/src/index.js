/** Checkpoints and long-term memory for LangGraph.js, kept by a Cenote server. */
export { CenoteSaver } from "./saver.js";
export { CenoteStore } from "./store.js";
export { CenoteError } from "./transport.js";
