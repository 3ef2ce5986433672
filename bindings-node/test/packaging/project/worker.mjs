import { main } from "./app.mjs";

export default {
  async test() {
    console.log(JSON.stringify(await main()));
  },
};
