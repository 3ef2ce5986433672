import { refuse } from "../../../../lib/answers.ts";
import { tenantOf, textOf } from "../../../../lib/requests.ts";
import { read, run } from "../../../../lib/threads.ts";

type Given = { params: Promise<{ id: string }> };

export async function POST(request: Request, { params }: Given): Promise<Response> {
  try {
    return Response.json(await run(tenantOf(request), (await params).id, await textOf(request)));
  } catch (error) {
    return refuse(error);
  }
}

export async function GET(request: Request, { params }: Given): Promise<Response> {
  try {
    return Response.json(await read(tenantOf(request), (await params).id));
  } catch (error) {
    return refuse(error);
  }
}
