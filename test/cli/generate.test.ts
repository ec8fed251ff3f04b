import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkpointDir, type GoldenStep, golden } from '../support/checkpoints.js';
import { NODE_VERSION, sda, sdaJson } from '../support/cli.js';
import { copyOf, editJson, temporaryFolder } from '../support/folders.js';
import { addTokenizer, TINY_TEMPLATE } from '../support/tiny-tokenizer.js';

interface Result {
  text: string;
  token_ids: number[];
  finish_reason: string;
  prompt_tokens: { base: number; instructed: number };
  settings: Record<string, unknown>;
  steps: GoldenStep[];
  timing: Record<string, number>;
  base?: Result;
}

const { sda: GOLDEN_SDA } = golden('tiny-llama');
const PROMPTS = [
  ...['--base-ids', GOLDEN_SDA.base.join(' ')],
  ...['--instructed-ids', GOLDEN_SDA.instructed.join(',')],
];
const TINY = ['generate', '--model', checkpointDir('tiny-llama'), '--dtype', 'float32', ...PROMPTS];
/** The settings of the golden runs. */
const GOLDEN = [...TINY, '--greedy', '--ignore-eos', '--amplification', `${GOLDEN_SDA.a}`];
const GOLDEN_16 = [...GOLDEN, '--max-tokens', '16'];

const ids = (steps: readonly { id: number }[]) => steps.map(({ id }) => id);

describe('sda generate --json', () => {
  it('gives every step of the golden SDA run, and the stable fields', async () => {
    const { steps } = GOLDEN_SDA.runs['sigma_0.01']!;
    const found = await sdaJson<Result>(GOLDEN_16);
    expect(found.token_ids).toEqual(ids(steps));
    for (const [index, step] of steps.entries()) {
      for (const [key, value] of Object.entries(step)) {
        expect(found.steps[index]?.[key as keyof GoldenStep], key).toBeCloseTo(value, 4);
      }
    }
    expect(found.finish_reason).toBe('length');
    expect(found.prompt_tokens).toEqual({ base: 5, instructed: 12 });
    expect(found.settings).toEqual({
      mode: 'sda',
      amplification: 0.5,
      k: 2,
      t0: 0.6,
      sigma: 0.01,
      t_min: 0.2,
      top_p: 0.95,
      top_k: 0,
      min_p: 0,
      greedy: true,
      plausibility: 0,
      seed: 0,
      max_tokens: 16,
    });
    expect(Object.keys(found.timing)).toEqual([
      'load_ms',
      'prefill_ms',
      'decode_ms',
      'tokens_per_second',
    ]);
    expect(Object.values(found.timing).every((value) => value > 0)).toBe(true);
    expect(found.text).toBe('');
    expect(found.base).toBeUndefined();
  });

  it('takes the temperature options', async () => {
    const { sigma, steps } = GOLDEN_SDA.runs.sigma_2ln2!;
    const found = await sdaJson<Result>([...GOLDEN_16, '--sigma', `${sigma}`]);
    expect(ids(found.steps)).toEqual(ids(steps));
    for (const [index, { temperature }] of steps.entries()) {
      expect(found.steps[index]?.temperature).toBeCloseTo(temperature, 5);
    }
  });

  it('adds the base answer with --compare: what mode base gives', async () => {
    const both = await sdaJson<Result>([...GOLDEN_16, '--compare']);
    const base = await sdaJson<Result>([...GOLDEN_16, '--mode', 'base']);
    expect(both.base?.token_ids).toEqual(base.token_ids);
    expect(both.token_ids).toEqual(ids(GOLDEN_SDA.runs['sigma_0.01']!.steps));
    expect(both.base?.token_ids).not.toEqual(both.token_ids);
    expect(both.base?.settings.mode).toBe('base');
  });

  it('turns the score into a by eq 3, or by the function named', async () => {
    const score = [...TINY, '--max-tokens', '1', '--score', '50'];
    const eq3 = await sdaJson<Result>(score);
    expect(eq3.settings.amplification).toBeCloseTo(2 / (1 + Math.exp(-1)) - 1, 12);
    const linear = await sdaJson<Result>([...score, '--score-function', 'linear']);
    expect(linear.settings.amplification).toBe(0.5);
  });

  it('repeats a text with the same seed and changes it with another', async () => {
    const sampled = [...TINY, '--max-tokens', '12', '--t0', '2', '--t-min', '2', '--ignore-eos'];
    const [first, again, other] = await Promise.all(
      ['7', '7', '8'].map((seed) => sdaJson<Result>([...sampled, '--seed', seed])),
    );
    expect(again?.token_ids).toEqual(first?.token_ids);
    expect(other?.token_ids).not.toEqual(first?.token_ids);
  });

  it('ends at an end-of-text token, and at the end of the context', async () => {
    const dir = copyOf('tiny-llama');
    const third = GOLDEN_SDA.runs['sigma_0.01']!.steps[2]?.id;
    editJson(join(dir, 'generation_config.json'), { eos_token_id: [third] });
    editJson(join(dir, 'config.json'), { max_position_embeddings: 16 });
    const options = ['--model', dir, ...PROMPTS, '--greedy', '--amplification', '0.5'];
    const stopped = await sdaJson<Result>(['generate', ...options]);
    expect(stopped.finish_reason).toBe('stop');
    expect(stopped.token_ids.at(-1)).toBe(third);
    const full = await sdaJson<Result>(['generate', ...options, '--ignore-eos']);
    expect(full.finish_reason).toBe('context');
    expect(full.token_ids.length).toBeLessThanOrEqual(16 - 12 + 1);
  });
});

describe('sda generate', () => {
  it('prints ids where there is no tokenizer, and one line of summary on stderr', async () => {
    const { code, stdout, stderr } = await sda(GOLDEN_16);
    expect(code).toBe(0);
    expect(stdout).toBe(`${ids(GOLDEN_SDA.runs['sigma_0.01']!.steps).join(' ')}\n`);
    expect(stderr).toMatch(
      /^16 tokens \| [\d.]+ tokens\/s \| .*mean JS 0\.\d+ \| greedy \| a 0\.5 \| seed 0 \| cut at --max-tokens\n$/,
    );
  });

  it('prints no colours away from a terminal, also in CI', async () => {
    const { stdout, stderr } = await sda([...GOLDEN, '--max-tokens', '2', '--compare'], {
      env: { CI: 'true' },
    });
    expect(stdout).toMatch(/^Base model\n\n\d+ \d+\n\nSDA\n\n\d+ \d+\n$/);
    expect(stdout + stderr).not.toContain('\u001b');
  });

  it('answers text with text, from an option or from standard input', async () => {
    const dir = copyOf('tiny-llama');
    addTokenizer(dir, TINY_TEMPLATE);
    const options = ['generate', '--model', dir, '--instruction', 'be kind', '--max-tokens', '9'];
    const json = await sdaJson<Result>([...options, '--query', 'hi there']);
    // <|user|> hi there <|bot|>, and the same with a newline and the instruction
    expect(json.prompt_tokens.base).toBe(10);
    expect(json.prompt_tokens.instructed).toBeGreaterThanOrEqual(10 + 'be kind'.length);
    expect(json.text.length).toBeGreaterThan(0);
    const piped = await sda([...options, '--query', '-'], { stdin: 'hi there\n' });
    expect(piped.stdout).toBe(`${json.text}\n`);
    expect(piped.stderr).toContain('a 0.2 (default, a score of about 70)');
  });

  it('keeps thinking and answer apart: a prompt that opens the thinking has no answer yet', async () => {
    const dir = copyOf('tiny-llama-tied');
    addTokenizer(dir, `${TINY_TEMPLATE}<think>`);
    const query = [
      'generate',
      '--model',
      dir,
      '--query',
      'Hi',
      '--max-tokens',
      '8',
      '--ignore-eos',
    ];
    const shown = await sda([...query, '--json']);
    const { text, ...parts } = JSON.parse(shown.stdout) as Record<string, unknown>;
    expect(parts).toMatchObject({
      thinking: String(text).trim(),
      answer: '',
      answer_finished: false,
      chat_template: expect.stringContaining('tokenizer_config.json'),
    });
    const hidden = await sda([...query, '--thinking', 'hide']);
    expect(hidden.stdout.trim()).toBe('');
    expect(hidden.stderr).toContain(
      '8 tokens of thinking | thinking unfinished: there is no answer',
    );
  });

  it('says which built-in template it used, and takes a day for templates that ask', async () => {
    const dir = copyOf('tiny-llama-tied');
    addTokenizer(dir);
    const query = ['generate', '--model', dir, '--query', 'Hi', '--max-tokens', '2'];
    const none = await sda(query);
    expect(none.stderr).toMatch(/no chat template.*vicuna.*\.\n/);
    const vicuna = await sda([...query, '--chat-template', 'vicuna']);
    expect(vicuna.stderr).toContain('prompts made by the built-in template vicuna');
    const file = join(temporaryFolder(), 'dated.jinja');
    writeFileSync(file, "{{ strftime_now('%d %B %Y') }}{{ messages[0].content }}");
    const dated = [...query, '--chat-template', file, '--json', '--date'];
    const [first, second] = [
      await sda([...dated, '2024-02-03']),
      await sda([...dated, '2024-02-13']),
    ];
    const lengths = [first, second].map(
      ({ stdout }) => (JSON.parse(stdout) as Result).prompt_tokens,
    );
    expect(lengths[0]).toEqual(lengths[1]);
    expect((await sda([...query, '--date', '2024-02-30'])).stderr).toContain('Expected a day');
  });

  it('takes variables of the template and says them and the day, also in the trace', async () => {
    const dir = copyOf('tiny-llama-tied');
    addTokenizer(dir, `{{ strftime_now('%Y') }}{% if brief %}-{% endif %}${TINY_TEMPLATE}`);
    const trace = join(dir, 'trace.jsonl');
    const query = ['generate', '--model', dir, '--query', 'Hi', '--max-tokens', '2'];
    const plain = await sdaJson<Result>([...query, '--date', '2024-02-03']);
    const brief = await sdaJson<Result>([
      ...[...query, '--date', '2024-02-03', '--trace', trace],
      ...['--template-var', 'brief=false', '--template-var', 'brief=true'],
    ]);
    expect(plain.settings.date).toBe('2024-02-03');
    expect(plain.settings).not.toHaveProperty('template_variables');
    expect(brief.settings.template_variables).toEqual({ brief: true });
    expect(brief.prompt_tokens.base).toBe(plain.prompt_tokens.base + 1);
    const [header] = readFileSync(trace, 'utf8').split('\n');
    expect((JSON.parse(header!) as Result).settings).toEqual(brief.settings);
    const errors = await Promise.all(
      ['brief=True', 'brief', 'other=1', 'messages=[]'].map((text) =>
        sda([...query, '--template-var', text]),
      ),
    );
    expect(errors.map(({ code }) => code)).toEqual([2, 2, 1, 1]);
    expect(errors.map(({ stderr }) => stderr)).toEqual([
      expect.stringContaining('a name and a JSON value'),
      expect.stringContaining('a name and a JSON value'),
      expect.stringMatching(/no variable "other".*\.\n$/),
      expect.stringMatching(/messages.*leave it out\.\n$/),
    ]);
  });

  it('folds system text where the template refuses a system turn, which it says before loading', async () => {
    const dir = copyOf('tiny-llama-tied');
    const refusal =
      "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}";
    addTokenizer(dir, refusal + TINY_TEMPLATE);
    const query = ['generate', '--model', dir, '--query', 'Hi', '--max-tokens', '2'];
    for (const system of [
      ['--system', 'S'],
      ['--placement', 'system'],
    ]) {
      const refused = await sda([...query, ...system]);
      expect([refused.code, refused.stdout]).toEqual([1, '']);
      expect(refused.stderr).toMatch(/^error: .*System role not supported; --fold-system .*\.\n$/);
      const folded = await sda([...query, ...system, '--fold-system', '--json']);
      expect(folded.code).toBe(0);
    }
    writeFileSync(join(dir, 'model.safetensors'), ''); // not read so far
    expect((await sda([...query, '--system', 'S'])).stderr).toContain('System role not supported');
    const missing = await sda([...query, '--chat-template', 'nope']);
    expect(missing.stderr).toMatch(/^error: .*nope.*vicuna, chatml, llama-2, none.*\.\n$/);
  });

  it('writes a trace: a header, then the steps', async () => {
    const file = join(temporaryFolder(), 'trace.jsonl');
    const { steps } = await sdaJson<Result>([...GOLDEN_16, '--trace', file]);
    const text = readFileSync(file, 'utf8');
    expect(text.endsWith('\n')).toBe(true);
    const [header, ...lines] = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(header).toMatchObject({
      type: 'header',
      trace_version: 1,
      device: expect.stringMatching(/^(cpu|gpu)$/),
      node: NODE_VERSION,
      settings: { mode: 'sda', amplification: 0.5, max_tokens: 16 },
    });
    expect(lines).toHaveLength(16);
    for (const [index, line] of lines.entries()) {
      expect(line).toMatchObject({ type: 'step', step: index, a: 0.5, ...steps[index] });
    }
  });

  it('keeps what it has printed on Ctrl-C, sums up and exits with 130', async () => {
    const { base, instructed } = golden('tiny-llama-tied').sda;
    const { code, stdout, stderr } = await sda(
      [
        ...['generate', '--model', checkpointDir('tiny-llama-tied'), '--greedy', '--ignore-eos'],
        ...['--base-ids', base.join(' '), '--instructed-ids', instructed.join(' ')],
        ...['--max-tokens', '400'],
      ],
      { interruptAfter: /^\d+ \d+ / },
    );
    const printed = stdout.trim().split(' ').length;
    expect(stderr).toMatch(new RegExp(`^${printed} tokens .* stopped\n$`));
    expect(printed).toBeGreaterThanOrEqual(2);
    expect(printed).toBeLessThan(400);
    expect(code).toBe(130);
  });

  it('says nothing when its reader leaves early', async () => {
    const { code, stderr } = await sda([...GOLDEN, '--max-tokens', '60'], {
      closeStdoutEarly: true,
    });
    expect(code).toBe(0);
    expect(stderr).toBe('');
  });
});
