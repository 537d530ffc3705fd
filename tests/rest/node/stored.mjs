// Stored completions: {request, metadata, unknown} -> what each of the client's calls tells.
import { client, described, given, print } from "./client.mjs";

const { request, metadata, unknown } = await given();
const completions = client.chat.completions;
const answers = [];
for (let number = 0; number < 3; number += 1) {
  answers.push(await completions.create({ ...request, metadata, store: true }));
}
const [{ id }] = answers;
const told = { answers, listed: [], messages: [] };
for await (const completion of completions.list({ limit: 2, metadata, order: "desc" })) {
  told.listed.push(completion);
}
for await (const message of completions.messages.list(id, { limit: 1 })) {
  told.messages.push(message);
}
told.retrieved = await completions.retrieve(id);
told.updated = await completions.update(id, { metadata: { other: "label" } });
told.emptied = await completions.update(id, { metadata: null });
told.deleted = await completions.delete(id);
told.errors = [];
for (const gone of [id, unknown]) {
  try {
    await completions.retrieve(gone);
  } catch (error) {
    told.errors.push(described(error));
  }
}
print(told);
