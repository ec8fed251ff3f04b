import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { loadModel } from '../../src/generate/sda-model.js';
import { packageRoot } from '../../src/runtime/paths.js';
import { checkpointDir, golden } from '../support/checkpoints.js';
import { sda, sdaJson } from '../support/cli.js';
import { copyOf, temporaryFolder } from '../support/folders.js';
import { otherWeights, withText } from '../support/other-weights.js';
import { useTensorFlow } from '../support/tensorflow.js';
import { addTokenizer, TINY_TEMPLATE } from '../support/tiny-tokenizer.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

interface Step {
  id: number;
  logp: number;
  js: number;
  temperature: number;
  logps: Record<string, number>;
  details?: { entropies: Record<string, number>; weights: Record<string, number> };
}
interface Result {
  text: string;
  token_ids: number[];
  prompt_tokens: Record<string, number>;
  settings: Record<string, unknown>;
  steps: Step[];
  base?: Result;
}

const G = golden('tiny-llama').sda;
const TINY = ['generate', '--model', checkpointDir('tiny-llama'), '--dtype', 'float32'];
/** SDA with k a = g - 1 is guidance of the golden prompts. */
const CFG = [
  ...[...TINY, '--rule', 'cfg', '--weight', `${1 + G.k * G.a}`, '--greedy', '--ignore-eos'],
  ...['--stream', `conditional:ids=${G.instructed.join(' ')}`],
  ...['--stream', `unconditional:ids=${G.base.join(',')}`, '--max-tokens', '16'],
];

function logSoftmax(row: Iterable<number>): number[] {
  const values = [...row];
  const most = Math.max(...values);
  const sum = values.reduce((total, value) => total + Math.exp(value - most), 0);
  return values.map((value) => value - most - Math.log(sum));
}

/** Jensen-Shannon divergence, nats, of log-probabilities of which the first has fewer ids. */
function divergence(p: readonly number[], q: readonly number[]): number {
  const terms = q.map((log, i) => {
    const [a, b] = [Math.exp(p[i] ?? Number.NEGATIVE_INFINITY), Math.exp(log)];
    const part = (x: number) => (x === 0 ? 0 : (x * Math.log((2 * x) / (a + b))) / 2);
    return part(a) + part(b);
  });
  return terms.reduce((sum, term) => sum + term, 0);
}

/** Of the tiny tokenizer; the model has ids beyond. */
const TOKENS = 101;

describe('sda generate --rule', () => {
  it('gives what transformers’ logits give of classifier-free guidance, step by step', async () => {
    const { steps } = G.runs['sigma_0.01']!;
    const found = await sdaJson<Result>(CFG);
    expect(found.token_ids).toEqual(steps.map(({ id }) => id));
    for (const [index, { js, logp_base, logp_instructed }] of steps.entries()) {
      const step = found.steps[index]!;
      expect(Math.abs(step.js - js)).toBeLessThan(TOLERANCE.goldenJs);
      expect(Math.abs(step.logps.unconditional! - logp_base)).toBeLessThan(TOLERANCE.goldenLogProb);
      expect(Math.abs(step.logps.conditional! - logp_instructed)).toBeLessThan(
        TOLERANCE.goldenLogProb,
      );
    }
    expect(found.prompt_tokens).toEqual({ conditional: 12, unconditional: 5 });
    expect(found.settings).toEqual({
      rule: 'cfg',
      weight: 2,
      temperature: 1,
      top_p: 1,
      top_k: 0,
      min_p: 0,
      greedy: true,
      details: false,
      seed: 0,
      max_tokens: 16,
    });
  });

  it('streams ids, sums up and compares as with SDA', async () => {
    const { code, stdout, stderr } = await sda([...CFG, '--max-tokens', '3']);
    const ids = G.runs['sigma_0.01']!.steps.slice(0, 3).map(({ id }) => id);
    expect([code, stdout]).toEqual([0, `${ids.join(' ')}\n`]);
    expect(stderr).toMatch(
      /^3 tokens \| .*mean JS 0\.\d+ \| greedy \| cfg weight 2 \| seed 0 \| cut at --max-tokens\n$/,
    );
    const dir = withText();
    const text = [
      ...['generate', '--model', dir, '--query', 'Hi', '--instruction', 'kind'],
      ...['--max-tokens', '4', '--seed', '3'],
    ];
    const base = await sda([...text, '--mode', 'base', '--t0', '0.8', '--top-p', '1']);
    const both = await sda([...text, '--rule', 'cfg', '--temperature', '0.8', '--compare']);
    expect(both.stdout).toMatch(/^Base model\n\n.*\n\nClassifier-free guidance\n\n.*\n$/s);
    expect(both.stdout.slice('Base model\n\n'.length)).toMatch(
      new RegExp(`^${base.stdout.trimEnd().replace(/[^\w\s]/g, '\\$&')}\n`),
    );
  });

  it('has two models run streams: greedy contrast, computed again in float64 from their logits', async () => {
    const [dir, other] = [withText(), await otherWeights()];
    const prompt = G.base;
    const found = await sdaJson<Result>([
      ...['generate', '--model', dir, '--dtype', 'float32', '--rule', 'cd', '--alpha', '0.2'],
      ...['--with', `amateur=${other}`, '--amateur-temperature', '2', '--greedy', '--ignore-eos'],
      ...[
        '--stream',
        `expert:ids=${prompt.join(' ')}`,
        '--stream',
        `amateur:ids=${prompt.join(' ')}`,
      ],
      ...['--max-tokens', '6', '--details'],
    ]);
    const models = [await loadModel(dir), await loadModel(other)] as const;
    try {
      const ids: number[] = [...prompt];
      for (const { id, logps, js, details } of found.steps) {
        const [mine, its] = await Promise.all(models.map((model) => model.logits(ids)));
        const expert = logSoftmax(mine!.slice(0, TOKENS));
        const amateur = logSoftmax(its!);
        const least = Math.max(...expert) + Math.log(0.2);
        const scores = expert.map((value, i) =>
          value >= least ? value - amateur[i]! / 2 : Number.NEGATIVE_INFINITY,
        );
        expect(id).toBe(scores.indexOf(Math.max(...scores)));
        expect(Math.abs(logps.expert! - expert[id]!)).toBeLessThan(TOLERANCE.goldenLogProb);
        expect(Math.abs(logps.amateur! - amateur[id]!)).toBeLessThan(TOLERANCE.goldenLogProb);
        expect(Math.abs(js - divergence(expert, amateur))).toBeLessThan(TOLERANCE.goldenJs);
        expect(details!.weights).toEqual({ expert: 1, amateur: -0.5 });
        ids.push(id);
      }
    } finally {
      for (const model of models) model.dispose();
    }
    expect(new Set(found.token_ids).size).toBeGreaterThan(1);
  });

  it('adds a negative text, a text of one stream and what a file says', {
    timeout: 300_000,
  }, async () => {
    const dir = withText();
    const of = async (...more: string[]) =>
      sdaJson<Result>([
        ...['generate', '--model', dir, '--query', 'Hi', '--max-tokens', '1', '--rule', 'cfg'],
        ...more,
      ]);
    // <|user|>Hi<|bot|> is 4 tokens, and what is added its letters: a new line has no token here
    const sizes = (found: Result) => Object.values(found.prompt_tokens);
    expect(sizes(await of('--instruction', 'kind'))).toEqual([8, 4]);
    expect(sizes(await of('--instruction', 'kind', '--negative', 'unkind'))).toEqual([8, 10]);
    const file = join(temporaryFolder(), 'context.txt');
    writeFileSync(file, 'a context\n');
    expect(sizes(await of('--instruction-file', file))).toEqual([13, 4]);
    const streams = [
      ...['--stream', 'conditional:instruction=', '--stream', 'unconditional:query=Hello'],
      ...['--stream', 'unconditional:system=S', '--stream', 'unconditional:instruction=no'],
    ];
    expect(sizes(await of(...streams))).toEqual([4, 2 + 7 + 2]);
  });

  it('takes settings directly, by --set, and as what they are not', {
    timeout: 300_000,
  }, async () => {
    const dir = withText();
    const settings = async (...more: string[]) => {
      const text = ['--query', 'Hi', '--instruction', 'kind', '--max-tokens', '1'];
      return (await sdaJson<Result>(['generate', '--model', dir, ...text, ...more])).settings;
    };
    expect(await settings('--rule', 'cfg', '--weight=-0.5', '--top-k', '3')).toMatchObject({
      weight: -0.5,
      top_k: 3,
    });
    expect(
      await settings('--rule', 'cfg', '--set', 'weight=3', '--set', 'greedy=true'),
    ).toMatchObject({
      weight: 3,
      greedy: true,
    });
    expect(await settings('--rule', 'rose')).toMatchObject({ rule: 'rose', greedy: true });
    expect(await settings('--rule', 'rose', '--no-greedy')).toMatchObject({ greedy: false });
    expect(await settings('--rule', 'sda', '--k', '3')).toMatchObject({ mode: 'sda', k: 3 });
  });

  it('runs a rule of one’s own, whose statistics are in the trace and on the page', async () => {
    const trace = join(temporaryFolder(), 'trace.jsonl');
    const rule = join(packageRoot(), 'examples', 'own-rule.mjs');
    const { steps } = await sdaJson<Result>([
      ...['generate', '--model', withText(), '--query', 'Hi', '--instruction', 'kind'],
      ...['--rule', rule, '--weight', '2'],
      ...['--max-tokens', '3', '--ignore-eos', '--trace', trace],
    ]);
    const [header, ...lines] = readFileSync(trace, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Step & { settings?: object; trace_version?: number });
    expect(header).toMatchObject({ trace_version: 2, settings: { rule: 'cautious', weight: 2 } });
    expect(lines).toHaveLength(3);
    for (const [index, line] of lines.entries()) {
      expect(line).toMatchObject({ type: 'step', step: index, ...steps[index] });
      expect(line.details!.weights).toEqual({ told: 3, untold: -2 });
      expect(Object.keys(line.details!.entropies)).toEqual(['told', 'untold']);
    }
    const report = await sda(['report', trace]);
    expect([report.code, report.stderr]).toEqual([0, expect.stringContaining('report of ')]);
    const page = readFileSync(trace.replace('.jsonl', '.html'), 'utf8');
    expect(page).toContain('["details.entropies.told",');
    expect(page).toContain('"log P(untold)"');
  });

  it('contrasts layers, named by a half or by a list, and says which in the trace', async () => {
    const trace = join(temporaryFolder(), 'trace.jsonl');
    const dola = [...TINY, '--rule', 'dola', '--stream', 'prompt:ids=1 5 9', '--ignore-eos'];
    const short = ['--max-tokens', '3', '--trace', trace];
    const listed = await sdaJson<Result>([...dola, ...short, '--layers', '[1, 0]']);
    expect(listed.settings.layers).toEqual([1, 0]);
    for (const step of listed.steps as (Step & { layer: number })[]) {
      expect([0, 1]).toContain(step.layer);
      expect(Object.keys(step.logps)).toEqual(['mature', 'premature']);
    }
    expect((await sda(['report', trace])).code).toBe(0);
    expect(readFileSync(trace.replace('.jsonl', '.html'), 'utf8')).toContain('["layer",');
    const { settings } = await sdaJson<Result>([...dola, '--layers', 'high', '--max-tokens', '1']);
    expect(settings.layers).toBe('high');
    const refused = await sda([...dola, '--layers', '[9]', '--max-tokens', '1']);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(/names layer 9, but/) });
    const middle = await sda([...dola, '--layers', 'middle']);
    expect(middle.stderr).toMatch(
      /layers of the rule dola is middle: it must be one of low, high, or/,
    );
  });

  it('has --set where a rule of one’s own names a setting as an option is named', async () => {
    const file = join(temporaryFolder(), 'named.mjs');
    const api = JSON.stringify(pathToFileURL(join(packageRoot(), 'dist/src/index.js')).href);
    writeFileSync(
      file,
      `import { blendRule, RULES } from ${api};
       const { weight } = RULES.find(({ name }) => name === 'cfg').settings.shape;
       export default blendRule({
         name: 'named', title: 'T', formula: 'F', source: 'S',
         streams: { one: {}, two: {} },
         settings: { query: weight },
         blend: ({ query }) => ({ anchor: 'one', weights: { two: 1 - query } }),
       });`,
    );
    const ids = ['--stream', 'one:ids=1 2 3', '--stream', 'two:ids=1 2'];
    const options = [...TINY, '--rule', file, ...ids, '--details', '--max-tokens', '1'];
    const of = async (...more: string[]) =>
      (await sdaJson<Result>([...options, ...more])).steps[0]!.details!.weights;
    expect(await of()).toEqual({ one: 1.5, two: -0.5 });
    expect(await of('--set', 'query=2.5')).toEqual({ one: 2.5, two: -1.5 });
  });

  it('compares with the base model sampled as the rule is, by its own defaults', async () => {
    const dir = withText();
    const text = ['generate', '--model', dir, '--query', 'Hi', '--instruction', 'kind'];
    const short = ['--max-tokens', '3', '--ignore-eos'];
    const { settings, base } = await sdaJson<Result>([
      ...text,
      ...short,
      '--rule',
      'rose',
      '--compare',
    ]);
    expect(settings).toMatchObject({ rule: 'rose', greedy: true });
    expect(base!.settings).toMatchObject({ mode: 'base', greedy: true, t0: 1, top_p: 1 });
  });

  it('keeps what it has printed on Ctrl-C', async () => {
    const { code, stdout, stderr } = await sda([...CFG, '--max-tokens', '110'], {
      interruptAfter: /^\d+ \d+ /,
    });
    expect(code).toBe(130);
    const printed = stdout.trim().split(' ').length;
    expect(stderr).toMatch(new RegExp(`^${printed} tokens .* cfg weight 2 .* stopped\n$`));
  });
});

describe('wrong input to a rule is one sentence', () => {
  const query = ['generate', '--query', 'Hi', '--rule'];
  it.each<[string, readonly string[], number, RegExp]>([
    ['an unknown rule', [...query, 'cgf'], 1, /no rule "cgf": the rules are sda, .*cfg/],
    ['a rule file that is missing', [...query, 'no.mjs'], 1, /no\.mjs does not exist/],
    ['a setting out of range', [...query, 'cfg', '--top-p', '2'], 1, /topP of the rule cfg is 2: /],
    ['a set value of another kind', [...query, 'cfg', '--set', 'weight=x'], 1, /weight .* is x: /],
    ['an unknown set name', [...query, 'cfg', '--set', 'k=2'], 1, /cfg has no setting "k".*weight/],
    ['a set without value', [...query, 'cfg', '--set', 'weight'], 2, /no "=": give a name and/],
    [
      'a stream that the rule has not',
      [...query, 'cfg', '--stream', 'base:query=x'],
      2,
      /cfg has no stream "base": its streams are conditional, unconditional/,
    ],
    ['a missing model', [...query, 'cd'], 1, /amateur is run by the model "amateur".*--with/],
    [
      'a model that no stream asks for',
      [...query, 'cfg', '--with', 'amateur=x'],
      1,
      /No stream of the rule cfg is run by a model "amateur"/,
    ],
    [
      'a negative text of no use',
      [...query, 'cad', '--negative', 'x'],
      2,
      /cad adds a negative text/,
    ],
    [
      'an instruction of no use',
      [...query, 'cd', '--core', 'empathy', '--with', 'amateur=x'],
      2,
      /cd adds an/,
    ],
    [
      'prompts of SDA',
      ['generate', '--rule', 'cfg', '--base-ids', '1', '--instructed-ids', '1'],
      2,
      /the streams of the rule cfg are conditional, unconditional/,
    ],
    [
      'a file of instruction that is missing',
      [...query, 'cfg', '--instruction-file', '/no'],
      1,
      /\/no/,
    ],
  ])('%s', async (_, args, exit, message) => {
    const { code, stdout, stderr } = await sda(args);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^error: [^\n]+\.\n$/);
    expect([code, stdout]).toEqual([exit, '']);
  });

  it.each([
    [
      'a setting of SDA',
      ['--rule', 'cfg', '--k', '2'],
      /'--k'.* of the rule cfg are --weight, --t/,
    ],
    [
      'a misspelt setting',
      ['--rule', 'cfg', '--wieght', '2'],
      /Did you mean --weight\?\): the set/,
    ],
    ['a setting of another rule', ['--weight', '2'], /'--weight'.* of the rule sda are --mode, /],
  ])('%s, with the settings that there are', async (_, args, message) => {
    const { code, stdout, stderr } = await sda(['generate', '--query', 'Hi', ...args]);
    expect(stderr).toMatch(message);
    expect([code, stdout]).toEqual([2, '']);
  });

  it('another vocabulary, before a model is loaded', async () => {
    const [dir, other] = [withText(), copyOf('tiny-llama')];
    addTokenizer(other, TINY_TEMPLATE);
    const file = join(other, 'tokenizer.json');
    writeFileSync(file, readFileSync(file, 'utf8').replaceAll('"<|bot|>"', '"<|bat|>"'));
    writeFileSync(join(dir, 'model.safetensors'), ''); // not read so far
    const { code, stderr } = await sda([
      ...[
        'generate',
        '--model',
        dir,
        '--query',
        'Hi',
        '--rule',
        'cd',
        '--with',
        `amateur=${other}`,
      ],
    ]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: The token 4 is "<\|bot\|>" in .* and "<\|bat\|>" in .*\.\n$/);
  });

  it('a file that holds no rule, and one that cannot be run', async () => {
    const dir = temporaryFolder();
    for (const [source, message] of [
      ['export default { name: "x" };', /has no rule as its default export/],
      ['throw new Error("broken by design");', /cannot be run: broken by design\.\n$/],
    ] as const) {
      const file = join(dir, `rule-${source.length}.mjs`);
      writeFileSync(file, source);
      const { code, stderr } = await sda([...query, file]);
      expect(code).toBe(1);
      expect(stderr).toMatch(message);
    }
  });
});
