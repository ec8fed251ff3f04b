// Clients of a server under load: node bench/serve/load.mjs [URL] [CLIENTS] [REQUESTS] [SHARE THAT LEAVES]
// The key, where the server wants one, comes from SDA_API_KEY. Prints speeds, times to the first token, and what the server holds.
import OpenAI from 'openai';

const [url = 'http://127.0.0.1:8000', clients = '8', requests = '100', leaving = '0.1'] =
  process.argv.slice(2);
const apiKey = process.env.SDA_API_KEY || 'none';
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 10 });
const [{ id: model }] = (await client.models.list()).data;

/** Resident bytes of the server. */
async function memory() {
  const response = await fetch(`${url}/metrics`, {
    headers: { authorization: `Bearer ${apiKey}` },
  });
  return Number(/^process_resident_memory_bytes (\S+)/m.exec(await response.text())?.[1]);
}

const say = (line) => process.stdout.write(`${line}\n`);
const told = { tokens: 0, left: 0, first: [] };

async function ask(number) {
  const since = performance.now();
  const leaves = Math.random() < Number(leaving) ? Math.floor(30 * Math.random()) : Infinity;
  const stream = await client.chat.completions.create({
    model,
    messages: [{ role: 'user', content: `Tell me something about the number ${number}.` }],
    max_tokens: 16 + (number % 48),
    seed: number,
    stream: true,
    ...(number % 2 === 0 && { sda: { core: 'helpfulness' } }),
  });
  let seen = 0;
  for await (const { choices } of stream) {
    if (!choices[0]?.delta.content) continue;
    if (seen++ === 0) told.first.push(performance.now() - since);
    told.tokens++;
    if (seen >= leaves) {
      told.left++;
      return;
    }
  }
}

let next = 0;
const before = await memory();
const since = performance.now();
await Promise.all(
  Array.from({ length: Number(clients) }, async () => {
    while (next < Number(requests)) await ask(next++);
  }),
);
const seconds = (performance.now() - since) / 1000;
const quantile = (share) =>
  [...told.first].sort((a, b) => a - b)[Math.floor(share * told.first.length)];
say(
  `${requests} requests of ${clients} clients in ${seconds.toFixed(1)} s, ${told.left} left early`,
);
say(
  `${(told.tokens / seconds).toFixed(1)} tokens/s; first token after ${quantile(0.5).toFixed(0)} ms (median), ${quantile(0.95).toFixed(0)} ms (95%)`,
);
say(
  `resident: ${(before / 1e6).toFixed(0)} MB before, ${((await memory()) / 1e6).toFixed(0)} MB after`,
);
