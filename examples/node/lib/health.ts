// For a load balancer: 503 when keys cannot be had. It asks the key store and each KEK, at most this process's callers' worth: put no unauthenticated crowd before it.
import { sealed } from "./sealed.ts";

export async function health(): Promise<Response> {
  const { keyring } = await sealed();
  const found = await keyring.health();
  return Response.json(found, { status: found.status === "failed" ? 503 : 200 });
}
