// The client's stream helper: request -> {deltas, message, usage}, or {deltas, error}.
import { client, described, given, print } from "./client.mjs";

const deltas = [];
try {
  const runner = client.chat.completions.stream(await given());
  runner.on("content", (delta) => deltas.push(delta));
  const completion = await runner.finalChatCompletion();
  print({ deltas, message: completion.choices[0].message, usage: completion.usage ?? null });
} catch (error) {
  print({ deltas, error: described(error) });
}
