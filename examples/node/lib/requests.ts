// What is taken from a request.
import { Refusal } from "./answers.ts";

const tenants = new Map<string, string>(Object.entries(JSON.parse(process.env.EXAMPLE_TOKENS ?? "{}")));

/** Stands for your authentication. Whatever that is: the tenant follows from who asks, never from what they ask for. */
export function tenantOf(request: Request): string | undefined {
  const token = /^Bearer (\S+)$/.exec(request.headers.get("authorization") ?? "")?.[1];
  return token && tenants.get(token);
}

/** The `text` of a JSON body. */
export async function textOf(request: Request): Promise<string> {
  const body: unknown = await request.json().catch(() => undefined);
  if (typeof body === "object" && body !== null && "text" in body && typeof body.text === "string" && body.text !== "") return body.text;
  throw new Refusal(400, "bad_request");
}
