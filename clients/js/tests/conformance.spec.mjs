// LangGraph's own validation of checkpointers, in full, against CenoteSaver.
import { deltaChannelHistoryTests, validate } from "@langchain/langgraph-checkpoint-validation";
import { CenoteSaver } from "@cenote/client";
import { openHouse } from "./house.mjs";

let house;
beforeAll(async () => {
  house = await openHouse();
});
afterAll(async () => {
  expect(await house.server.stop()).toBe(0);
});

const init = {
  checkpointerName: "cenote",
  async createCheckpointer() {
    return new CenoteSaver(await house.tenant());
  },
};
validate(init);
deltaChannelHistoryTests(init);
