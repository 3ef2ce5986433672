// For a load balancer: 503 when keys cannot be had. Each call asks the key store and every KEK: keep it from the public.
import { sealed } from "./sealed.ts";

export async function health(): Promise<Response> {
  const { keyring } = await sealed();
  const found = await keyring.health();
  return Response.json(found, { status: found.status === "failed" ? 503 : 200 });
}
