import { refuse } from "../../../lib/answers.ts";
import { health } from "../../../lib/health.ts";

export const dynamic = "force-dynamic"; // asked each time, not at build time

export async function GET(): Promise<Response> {
  return health().catch(refuse);
}
