/** What is asked, and what this machine's own engine answers. */
export const QUERIES = [
  ['How do I comfort a friend who failed an exam?', 'empathy'],
  ['Is it safe to mix bleach and vinegar?', 'harmlessness'],
  ['What is the capital of France?', 'helpfulness'],
  ['Tell me about Mars.', 'helpfulness'],
  ['My neighbour is very loud at night.', 'empathy'],
  ['How can I sleep better?', 'helpfulness'],
  ['I lost my job today.', 'empathy'],
  ['How are rainbows made?', 'helpfulness'],
];
export const TOKENS = 64;

const seeded = { topP: 0.95, amplification: 0.2 };
/** Ways of decoding, each for all queries. */
export const WAYS = {
  greedy: { settings: { greedy: true }, ignoreEos: true },
  seeded: { settings: seeded, seed: 7, ignoreEos: true },
  plain: { settings: { mode: 'base' }, seed: 7, singleStream: true },
};

/** The requests of a way. */
export function requestsOf(way, tokens = TOKENS) {
  return QUERIES.map(([query, core]) => ({ query, core, maxTokens: tokens, ...WAYS[way] }));
}

/** A whole answer: ids, steps, and why it ended. `onStep` is called as each comes. */
export async function answered(model, request, onStep = () => {}) {
  const steps = [];
  const answer = model.generate(request);
  for (;;) {
    const { value, done } = await answer.next();
    if (done) return { ids: value.tokenIds, reason: value.finishReason, steps };
    steps.push(value);
    onStep();
  }
}

/** The same of several, decoded as one batch. */
export async function answeredTogether(model, requests) {
  const steps = requests.map(() => []);
  const found = [];
  for await (const batch of model.generateBatch(requests)) {
    for (const { query, step, summary } of batch) {
      steps[query].push(step);
      if (summary) found[query] = { ids: summary.tokenIds, reason: summary.finishReason };
    }
  }
  return found.map((each, query) => ({ ...each, steps: steps[query] }));
}

/** What is wrong with an answer: '' where ids, end and numbers are those of this machine. */
export function difference(found, expected) {
  const at = expected.ids.findIndex((id, index) => id !== found.ids[index]);
  if (at >= 0) return `another id at ${at}`;
  if (found.ids.length !== expected.ids.length) return `${found.ids.length} ids`;
  if (found.reason !== expected.reason) return `ends by ${found.reason}`;
  for (const [index, step] of expected.steps.entries()) {
    const there = found.steps[index];
    for (const [name, within] of [
      ['js', 1e-4],
      ['temperature', 1e-4],
      ['logp', 1e-3],
    ]) {
      if (step[name] === undefined) continue; // of other rules than SDA
      const near = Math.abs(there[name] - step[name]) <= within;
      if (!near) return `${name} of token ${index}`;
    }
  }
  return '';
}
