// The official client, as the tests' environment says, and the form in which scripts answer.
import { text } from "node:stream/consumers";
import OpenAI from "openai";

export const client = new OpenAI({
  baseURL: process.env.PARLEY_BASE_URL,
  apiKey: process.env.PARLEY_API_KEY,
  maxRetries: Number(process.env.PARLEY_MAX_RETRIES),
});

/** What the test wrote to the standard input. */
export const given = async () => JSON.parse(await text(process.stdin));

/** Tell the test, in one line of JSON. */
export const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

/** An exception of the client; `class` is null where it is none of the client's own. */
export const described = (error) => ({
  class: OpenAI[error.constructor.name] === error.constructor ? error.constructor.name : null,
  status: error.status ?? null,
  type: error.type ?? null,
  code: error.code ?? null,
  param: error.param ?? null,
  message: error.message,
  body: error.error ?? null,
  requestID: error.requestID ?? null,
  headers: Object.fromEntries(error.headers ?? []),
});
