// Key services for tests, which the Python package's tests have: moto, an emulator of AWS KMS, behind a proxy with faults; and a fake of Google Cloud KMS.
import { pythonTest, Served } from "../langgraph/servers.mjs";

/** A service that counts its calls and can be told what to answer. */
class KeyService {
  #served;

  constructor(program) {
    this.#served = new Served(pythonTest(program));
  }

  /** `{ reset: true }`, `{ fault }` (each time from now on) or `{ faults: [one, …] }` (once each, before that). Resolves to what was counted. */
  async tell(what = {}) {
    return JSON.parse(await this.#served.ask(JSON.stringify(what)));
  }

  async calls() {
    return (await this.tell()).calls;
  }
}

let aws;

/** AWS KMS for this process, and the environment in which the SDK finds it. */
export async function awsKms() {
  aws ??= new KeyService("aws_kms.py");
  const { endpoint } = await aws.tell({ reset: true });
  process.env.AWS_ENDPOINT_URL_KMS = endpoint;
  process.env.AWS_ACCESS_KEY_ID = process.env.AWS_SECRET_ACCESS_KEY = "for-moto";
  process.env.AWS_EC2_METADATA_DISABLED = "true";
  for (const name of ["AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_REGION"]) delete process.env[name];
  return aws;
}

let gcp;

/** A fake of Google Cloud KMS for this process. */
export async function gcpKms() {
  gcp ??= new KeyService("gcp_kms.py");
  await gcp.tell({ reset: true });
  process.env.METADATA_SERVER_DETECTION = "none"; // Google's client asks for one even where it needs no credentials
  return gcp;
}
