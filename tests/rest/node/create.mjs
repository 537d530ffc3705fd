// Makes the given requests, one after another: [{request, options}] -> [{answer | chunks, headers, error}].
import { client, described, given, print } from "./client.mjs";

const results = [];
for (const { request, options } of await given()) {
  const result = {};
  results.push(result);
  try {
    const { data, response } = await client.chat.completions.create(request, options).withResponse();
    result.headers = Object.fromEntries(response.headers);
    if (request.stream) {
      result.chunks = [];
      for await (const chunk of data) {
        result.chunks.push(chunk);
      }
    } else {
      result.answer = data;
    }
  } catch (error) {
    result.error = described(error);
  }
}
print(results);
