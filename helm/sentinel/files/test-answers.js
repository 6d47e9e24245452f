// Run by `helm test`: is the gateway ready, and does it answer a stranger as a gateway does? Ends with 1 if not.
const { CLIENT_URL, READY_URL } = process.env;

function get(url) {
  const client = require(url.startsWith("https:") ? "node:https" : "node:http");
  return new Promise((resolve, reject) => {
    // The certificate is for the name that clients use, not for the Service's.
    const request = client.get(url, { rejectUnauthorized: false, timeout: 10_000 }, (response) => {
      response.resume();
      response.once("end", () => resolve(response));
    });
    request.once("timeout", () => request.destroy(new Error("no answer within 10 s")));
    request.once("error", reject);
  });
}

function fail(reason) {
  console.error(reason);
  process.exitCode = 1;
}

async function main() {
  if (READY_URL) {
    const { statusCode } = await get(READY_URL);
    console.log(`${READY_URL}: ${statusCode}`);
    if (statusCode !== 200) fail("The gateway is not ready: the answer of /readyz says which check fails.");
  }
  const { statusCode, headers } = await get(CLIENT_URL);
  console.log(`${CLIENT_URL}: ${statusCode}`);
  if (headers["x-request-id"] === undefined) fail("What answers is not Sentinel: it sent no X-Request-Id.");
  if (statusCode >= 500) fail("The gateway answers with an error of its own or of an upstream; its log says why.");
}

main().catch((error) => fail(`no answer: ${error.message}`));
