// The entries of key services, where none of their packages is installed.
import { Keyring } from "sealpoint";
import { AwsKmsProvider } from "sealpoint/kms/aws";
import { GcpKmsProvider } from "sealpoint/kms/gcp";
import { Pkcs11Provider } from "sealpoint/kms/pkcs11";

const client = { encrypt() {}, decrypt() {} };
const own = new AwsKmsProvider("arn:aws:kms:eu-central-1:111122223333:key/1", { client });
const kek = (uri) =>
  Keyring.connect("memory:", { kek: uri }).catch((error) => {
    if (error.code !== "missing_dependency") throw error;
    return error.message;
  });
console.log(
  JSON.stringify({
    same: own instanceof AwsKmsProvider && [GcpKmsProvider, Pkcs11Provider].every((one) => typeof one === "function"),
    aws: await kek(own.uri),
    gcp: await kek("gcp-kms://projects/p/locations/l/keyRings/r/cryptoKeys/k"),
    pkcs11: await kek("pkcs11:token=t;object=o?module-path=/lib.so&pin-source=env:PIN"),
  }),
);
