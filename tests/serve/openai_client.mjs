// What the official client makes of lathe serve; every check that fails throws. LATHE_URL and LATHE_NODE_MODULES are set
// by test_openai.py.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const OpenAI = createRequire(process.env.LATHE_NODE_MODULES + "/")("openai").default;
// Node's own fetch: the client's node-fetch 2.7 takes the listener that Debian's Node 18.20.4 leaves on idle connections
// for an answer cut short, whatever the server ("Premature close" after every chunked answer).
const client = new OpenAI({
  baseURL: process.env.LATHE_URL + "/v1", apiKey: process.env.LATHE_KEY, maxRetries: 0, timeout: 120_000, fetch: globalThis.fetch,
});
const messages = [{ role: "system", content: "Be brief." }, { role: "user", content: "Tell me a story" }];
const base = { model: "tiny", messages, temperature: 0, max_completion_tokens: 16 };
const tools = [{
  type: "function",
  function: {
    name: "set_lamp",
    parameters: {
      type: "object",
      properties: { on: { type: "boolean" }, level: { type: "integer", minimum: 0, maximum: 10 } },
      required: ["on", "level"],
      additionalProperties: false,
    },
  },
}];

const checks = {
  async "lists models"() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    assert.deepEqual(ids, ["tiny"]);
    assert.equal((await client.models.retrieve("tiny")).id, "tiny");
  },
  async "chats, whole and streamed"() {
    const whole = await client.chat.completions.create({ ...base, n: 2, logprobs: true, top_logprobs: 3, seed: 1, user: "me" });
    assert.equal(whole.choices.length, 2);
    assert.equal(whole.usage.completion_tokens, 32);
    assert.equal(whole.choices[0].logprobs.content.length, 16);
    const stream = await client.chat.completions.create({ ...base, stream: true, stream_options: { include_usage: true } });
    let text = "", usage, reason;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      reason = chunk.choices[0]?.finish_reason ?? reason;
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, whole.choices[0].message.content);
    assert.equal(reason, "length");
    assert.equal(usage.completion_tokens, 16);
  },
  async "aborts a stream"() {
    const stream = await client.chat.completions.create({ ...base, max_completion_tokens: 400, stream: true });
    for await (const chunk of stream) {
      assert.ok(chunk.id.startsWith("chatcmpl-"));
      break;
    }
    stream.controller.abort();
  },
  async "answers with JSON by schema, through the client's parser"() {
    const schema = { type: "object", properties: { colour: { enum: ["red", "green"] }, size: { type: "integer", minimum: 1, maximum: 5 } },
                     required: ["colour", "size"], additionalProperties: false };
    const answer = await client.beta.chat.completions.parse({
      ...base, temperature: 1, seed: 5, max_completion_tokens: 100,
      response_format: { type: "json_schema", json_schema: { name: "thing", strict: true, schema } },
    });
    const value = JSON.parse(answer.choices[0].message.content);
    assert.ok(["red", "green"].includes(value.colour) && value.size >= 1 && value.size <= 5);
    const any = await client.chat.completions.create({ ...base, max_completion_tokens: 400, temperature: 1, seed: 2, response_format: { type: "json_object" } });
    if (any.choices[0].finish_reason === "stop") assert.equal(typeof JSON.parse(any.choices[0].message.content), "object");
  },
  async "calls tools and takes their answers back"() {
    const asked = await client.chat.completions.create({ ...base, tools, tool_choice: "required", parallel_tool_calls: false, max_completion_tokens: 200, temperature: 1, seed: 4 });
    const { message, finish_reason } = asked.choices[0];
    assert.equal(finish_reason, "tool_calls");
    const call = message.tool_calls[0];
    assert.equal(call.function.name, "set_lamp");
    const { on, level } = JSON.parse(call.function.arguments);
    assert.equal(typeof on, "boolean");
    assert.ok(Number.isInteger(level) && level >= 0 && level <= 10);
    const after = await client.chat.completions.create({
      ...base, tools, tool_choice: "none", messages: [...messages, message, { role: "tool", tool_call_id: call.id, content: "done" }],
    });
    assert.equal(after.choices[0].message.tool_calls, undefined);
    const runner = client.beta.chat.completions.stream({ ...base, tools, tool_choice: "required", parallel_tool_calls: false, max_completion_tokens: 200 });
    const final = await runner.finalChatCompletion();
    assert.equal(final.choices[0].message.tool_calls[0].function.name, "set_lamp");
  },
  async "streams calls of tools piece by piece"() {
    for (const ask of [{ parallel_tool_calls: false, seed: 4 }, { seed: 7 }, { seed: 7, max_completion_tokens: 45 }]) {
      const body = { ...base, tools, tool_choice: "required", max_completion_tokens: 200, temperature: 1, ...ask };
      const whole = (await client.chat.completions.create(body)).choices[0];
      const calls = [];
      let content = "", reason, deltas = 0;
      for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) {
        const { delta, finish_reason } = chunk.choices[0];
        reason = finish_reason ?? reason;
        content += delta.content ?? "";
        for (const { index, id, type, function: { name, arguments: text } } of delta.tool_calls ?? []) {
          if (index === calls.length) {
            assert.deepEqual([typeof id, type, name, text], ["string", "function", "set_lamp", ""]);
            calls.push("");
            continue;
          }
          assert.deepEqual([index, id, type, name], [calls.length - 1, undefined, undefined, undefined]);
          assert.ok(text.length > 0);
          calls[index] += text;
          ++deltas;
        }
      }
      assert.ok(calls.length > 0 && deltas > calls.length, `${deltas} pieces of ${calls.length} calls`);
      assert.equal(reason, whole.finish_reason);
      if (ask.max_completion_tokens) assert.equal(reason, "length");  // cut is the same in both, too
      assert.deepEqual(calls, whole.message.tool_calls.map((call) => call.function.arguments));
      assert.deepEqual([content, whole.message.content], ["", null]);
    }
  },
  async "completes text"() {
    const whole = await client.completions.create({ model: "tiny", prompt: "Once upon a time", max_tokens: 12, temperature: 0, logprobs: 2, stop: ["zzz"], logit_bias: { 5: -10 } });
    assert.equal(whole.choices[0].logprobs.tokens.length, 12);
    let text = "";
    for await (const chunk of await client.completions.create({ model: "tiny", prompt: "Once upon a time", max_tokens: 12, temperature: 0, stream: true, logit_bias: { 5: -10 } }))
      text += chunk.choices[0].text;
    assert.equal(text, whole.choices[0].text);
  },
  async "embeds, in the base64 the client asks for by itself"() {
    const { data } = await client.embeddings.create({ model: "tiny", input: ["a", "b"] });
    assert.equal(data.length, 2);
    assert.ok(Math.abs(data[0].embedding.reduce((sum, v) => sum + v * v, 0) - 1) < 1e-3);
  },
  async "responds, whole and streamed"() {
    const ask = { model: "tiny", input: "Tell me a story", instructions: "Be brief.", temperature: 0, max_output_tokens: 10 };
    const whole = await client.responses.create(ask);
    assert.ok(whole.output_text.length > 0);
    let text = "", last;
    for await (const event of await client.responses.create({ ...ask, stream: true })) {
      if (event.type === "response.output_text.delta") text += event.delta;
      last = event;
    }
    assert.equal(text, whole.output_text);
    assert.equal(last.response.usage.output_tokens, 10);
  },
  async "throws the client's own kinds of errors"() {
    await assert.rejects(client.chat.completions.create({ ...base, model: "none" }), (e) => e instanceof OpenAI.NotFoundError && e.code === "model_not_found");
    await assert.rejects(client.chat.completions.create({ ...base, temperature: 9 }), (e) => e instanceof OpenAI.BadRequestError && e.param === "temperature");
    await assert.rejects(new OpenAI({ baseURL: client.baseURL, apiKey: "wrong", maxRetries: 0 }).models.list(), OpenAI.AuthenticationError);
  },
  async "runs many at once"() {
    const alone = (await client.chat.completions.create(base)).choices[0].message.content;
    const all = await Promise.all(Array.from({ length: 24 }, () => client.chat.completions.create(base)));
    for (const one of all) assert.equal(one.choices[0].message.content, alone);
  },
};

for (const [name, check] of Object.entries(checks)) {
  await check();
  console.log("ok " + name);
}
