// The agent behind Hono: npm run hono
import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { refuse } from "./lib/answers.ts";
import { health } from "./lib/health.ts";
import { tenantOf, textOf } from "./lib/requests.ts";
import { sealed } from "./lib/sealed.ts";
import { read, run } from "./lib/threads.ts";

const app = new Hono();
app.post("/threads/:id/runs", async (c) => c.json(await run(tenantOf(c.req.raw), c.req.param("id"), await textOf(c.req.raw))));
app.get("/threads/:id", async (c) => c.json(await read(tenantOf(c.req.raw), c.req.param("id"))));
app.get("/health", health);
app.onError(refuse);

const { close } = await sealed(); // a wrong KEK or database fails the start, not the first request
const server = serve({ fetch: app.fetch, hostname: "127.0.0.1", port: Number(process.env.PORT ?? 3000) }, ({ port }) => {
  console.log(`http://127.0.0.1:${port}`);
});
process.once("SIGTERM", () => server.close(close));
