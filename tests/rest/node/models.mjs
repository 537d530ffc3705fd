// Lists the models, and retrieves the given ids: [id] -> {listed, retrieved: [{model | error}]}.
import { client, described, given, print } from "./client.mjs";

const listed = [];
for await (const model of client.models.list()) {
  listed.push(model);
}
const retrieved = [];
for (const id of await given()) {
  try {
    retrieved.push({ model: await client.models.retrieve(id) });
  } catch (error) {
    retrieved.push({ error: described(error) });
  }
}
print({ listed, retrieved });
