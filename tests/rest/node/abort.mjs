// Leaves a stream after its first words and stays alive, until the standard input ends: the provider
// must hear of it from the stream's end, not from this process's. `by` says how to leave.
import { client, print } from "./client.mjs";

const [by, user] = process.argv.slice(2);
const request = { model: "echo", messages: [{ role: "user", content: "Hello" }], user };

if (by === "runner") {
  const runner = client.chat.completions.stream(request);
  runner.once("content", () => runner.abort());
  await runner.done().catch((error) => print({ left: error.constructor.name }));
} else {
  const stream = await client.chat.completions.create({ ...request, stream: true });
  for await (const chunk of stream) {
    if (chunk.choices[0].delta.content) {
      if (by === "break") {
        break;
      }
      stream.controller.abort();
    }
  }
  print({ left: by });
}
process.stdin.resume();
