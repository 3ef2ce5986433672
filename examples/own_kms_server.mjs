// The service that `own_kms.mjs` asks: a stand-in on loopback, whose key lives in memory.
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { createServer } from "node:http";

/** Serves the key `kek-1`. `answers`: HTTP statuses to answer with, one a call, before anything else. */
export async function keyService(answers = []) {
  const key = randomBytes(32);

  const answer = (request, body) => {
    if (answers.length > 0) return [answers.shift(), ""];
    if (request.headers["x-key"] !== "kek-1") return [404, ""];
    const aad = Buffer.from(request.headers["x-context"], "base64");
    if (request.url === "/wrap") {
      const nonce = randomBytes(12);
      const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(aad);
      return [200, Buffer.concat([nonce, cipher.update(body), cipher.final(), cipher.getAuthTag()])];
    }
    const decipher = createDecipheriv("aes-256-gcm", key, body.subarray(0, 12), { authTagLength: 16 }).setAAD(aad).setAuthTag(body.subarray(-16));
    try {
      return [200, Buffer.concat([decipher.update(body.subarray(12, -16)), decipher.final()])];
    } catch {
      return [422, ""];
    }
  };

  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray());
    const [status, result] = answer(request, body);
    response.writeHead(status).end(result);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
