// The client's loop of tool calls: request -> {asked, text}; the tools' results are made here.
import { client, given, print } from "./client.mjs";

const asked = [];
const { request, parameters } = await given();
const getWeather = {
  name: "get_weather",
  description: "The weather of a city.",
  parameters,
  parse: JSON.parse,
  function: ({ city }) => {
    asked.push(city);
    return `sunny in ${city}`;
  },
};
const runner = client.chat.completions.runTools({ ...request, tools: [{ type: "function", function: getWeather }] });
print({ text: await runner.finalContent(), asked });
