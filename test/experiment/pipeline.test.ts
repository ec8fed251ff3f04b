import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { type ExperimentConfig, itemSeed, readConfig } from '../../src/experiment/config.js';
import { type ExperimentResult, runExperiment } from '../../src/experiment/pipeline.js';
import type { RunData } from '../../src/experiment/rows.js';
import { readRun } from '../../src/experiment/store/index.js';
import { summarizeRun } from '../../src/experiment/summary.js';
import { loadModel } from '../../src/generate/sda-model.js';
import { amplify } from '../../src/method/amplification.js';
import { readAll, summaryOf } from '../support/answers.js';
import {
  everyFile,
  resultsOf,
  type TinyExperiment,
  tinyExperiment,
} from '../support/experiments.js';
import { temporaryFolder } from '../support/folders.js';
import * as judge from '../support/judge-server.js';
import { sdaTraceOf } from '../support/runs.js';
import { errorOf, useTensorFlow } from '../support/tensorflow.js';

useTensorFlow();

const KEY = 'sk-test-0123456789abcdef';
afterEach(() => vi.unstubAllEnvs());

/** Runs to the end, or until `signal`. */
async function run(
  experiment: TinyExperiment,
  dir: string,
  more: {
    signal?: AbortSignal;
    onStage?: (stage: string, done: number) => void;
    onNote?: (note: string) => void;
    file?: string;
  } = {},
): Promise<{ result: ExperimentResult; data: RunData }> {
  const config = await readConfig(more.file ?? experiment.file);
  const result = await runExperiment(config, {
    dir,
    defaultModel: experiment.modelDir,
    openModel: loadModel,
    signal: more.signal,
    onNote: more.onNote,
    onProgress: ({ stage, done }) => more.onStage?.(stage, done),
  });
  return { result, data: readRun(dir) };
}

const openai = (url: string, more: object = {}) => ({
  kind: 'openai',
  base_url: url,
  model: 'm',
  timeout_s: 5,
  ...more,
});

/** A judge that prefers the response whose text is longer, so that verdicts depend on what was decoded. */
const byLength = judge.says(({ body }) => {
  const text = body.messages![0]!.content;
  const length = (name: string) => {
    const part = new RegExp(`<${name}>\\n(.*)\\n</${name}>`, 's').exec(text)?.[1] ?? '';
    return Math.min(100, part.length);
  };
  return text.includes('<response_A>')
    ? JSON.stringify({ A: length('response_A'), B: length('response_B') })
    : JSON.stringify({ score: length('response') });
});

describe('an experiment', () => {
  test('has the texts and numbers of single calls with the same seeds', async () => {
    const methods = ['instructed', 'steering', 'scaling', 'sda'] as const;
    const experiment = tinyExperiment({
      methods,
      seed: 4,
      evaluator: { kind: 'fixed', score: 35 },
    });
    const { data, result } = await run(experiment, experiment.newRun());
    expect(result).toEqual({ complete: true, failed: {}, judgingStopped: null });
    const model = await loadModel(experiment.modelDir);
    const a = amplify(35);
    try {
      for (const mode of ['base', ...methods] as const) {
        for (const { id, query } of data.items) {
          const answer = model.generate({
            query,
            instruction: 'Be kind.',
            settings: { mode, amplification: a },
            seed: itemSeed(4, id),
            maxTokens: 12,
            date: new Date('2026-01-01T12:00:00'),
          });
          const { steps, summary } = await readAll(answer);
          const row = data.responses.get(mode)!.get(id)!;
          expect(row, `${mode} ${id}`).toMatchObject({
            status: 'done',
            value: {
              text: summary.text,
              a: mode === 'sda' || mode === 'steering' ? a : null,
            },
          });
          expect(sdaTraceOf(row).js).toEqual(steps.map(({ js }) => Number(js.toPrecision(4))));
        }
      }
    } finally {
      model.dispose();
    }
  });

  test('does not depend on the batch, and has the same base texts without traces', async () => {
    const texts = async (more: Record<string, unknown>) => {
      const experiment = tinyExperiment(more);
      const { data } = await run(experiment, experiment.newRun());
      return [...data.responses].map(([method, rows]) => [
        method,
        [...rows.values()].map((row) => row.status === 'done' && row.value.text),
      ]);
    };
    const expected = await texts({ batch: 1 });
    expect(await texts({ batch: 4 })).toEqual(expected);
    expect(await texts({ batch: 6 })).toEqual(expected);
    expect(await texts({ batch: 2, trace: false })).toEqual(expected);
  });

  test('scores by the model itself where no evaluator is named', async () => {
    const experiment = tinyExperiment({ evaluator: { kind: 'intrinsic' } });
    const { data } = await run(experiment, experiment.newRun());
    const scores = [...data.scores.values()];
    expect(scores).toHaveLength(6);
    for (const row of scores) {
      expect(row).toMatchObject({ status: 'done', value: { evaluator: 'intrinsic' } });
      expect((row.status === 'done' && row.value.a) || 0).toBeGreaterThan(0);
    }
  });

  test('corrects base responses with an aligner, in place of the base model', async () => {
    const aligner = tinyExperiment().modelDir;
    const experiment = tinyExperiment({
      methods: ['aligner'],
      aligner: { dir: aligner, prompt: '{question}|{answer}|', max_tokens: 9 },
    });
    const { data, result } = await run(experiment, experiment.newRun());
    expect(result).toEqual({ complete: true, failed: {}, judgingStopped: null });
    expect(data.scores.size).toBe(0); // nothing steers
    const model = await loadModel(aligner);
    try {
      const tokenizer = await model.tokenizer();
      for (const { id, query } of data.items) {
        const base = data.responses.get('base')!.get(id)!;
        const answer = base.status === 'done' ? base.value.answer : '';
        const ids = tokenizer.encode(`${query}|${answer}|`);
        const correction = model.generate({
          prompts: { baseIds: ids, instructedIds: ids },
          settings: { mode: 'base' },
          singleStream: true,
          seed: itemSeed(0, id),
          maxTokens: 9,
        });
        const { text } = await summaryOf(correction);
        const row = data.responses.get('aligner')!.get(id)!;
        expect(row).toMatchObject({ status: 'done', value: { text, a: null } });
      }
    } finally {
      model.dispose();
    }
  });

  test('judges methods against each other, in both orders, and says beforehand what that takes', async () => {
    vi.stubEnv('OPENAI_API_KEY', KEY);
    const server = await judge.judgeServer(byLength);
    const experiment = tinyExperiment(
      {
        methods: ['steering', 'sda'],
        judge: openai(server.url, { concurrency: 1 }),
        compare: [
          ['sda', 'steering'],
          ['sda', 'base'],
        ],
      },
      4,
    );
    const dir = experiment.newRun();
    const controller = new AbortController();
    const notes: string[] = [];
    await run(experiment, dir, {
      signal: controller.signal,
      onNote: (note) => notes.push(`${note} (${server.requests.length} asked)`),
      onStage: (stage, done) => {
        if (stage === 'judge-sda-vs-steering' && done === 1) controller.abort();
      },
    });
    const before = readRun(dir).verdicts.get('sda-vs-steering')!.size;
    const { data, result } = await run(experiment, dir, { onNote: (note) => notes.push(note) });
    expect(result).toEqual({ complete: true, failed: {}, judgingStopped: null });
    expect(server.requests).toHaveLength(2 * 2 * 4); // orders, comparisons, items
    expect(notes).toEqual([
      expect.stringMatching(/^16 questions to the judge at most, 8 pairs .* \(0 asked\)$/),
      expect.stringContaining(`${2 * (8 - before)} questions to the judge at most`),
    ]);
    const length = (method: 'base' | 'steering' | 'sda', id: string) => {
      const row = data.responses.get(method)!.get(id)!;
      return row.status === 'done' ? row.value.answer.length : fail();
    };
    for (const [name, against] of [
      ['sda-vs-steering', 'steering'],
      ['sda', 'base'],
    ] as const) {
      for (const { id } of data.items) {
        const [ours, theirs] = [length('sda', id), length(against, id)];
        expect(data.verdicts.get(name)!.get(id), `${name} ${id}`).toMatchObject({
          value: {
            winner: ours > theirs ? 'method' : ours < theirs ? 'base' : 'tie',
            method: ours,
            base: theirs,
            consistent: true,
          },
        });
      }
    }
    expect(summarizeRun(data).comparisons.map(({ method, against }) => [method, against])).toEqual([
      ['sda', 'steering'],
      ['sda', 'base'],
    ]);
  });

  test('an abort in any stage loses nothing, and the rest comes out the same', async () => {
    const experiment = tinyExperiment();
    const whole = experiment.newRun();
    await run(experiment, whole);
    for (const where of [
      'respond-base',
      'score',
      'respond-instructed',
      'respond-sda',
      'judge-sda',
    ]) {
      const dir = experiment.newRun();
      const controller = new AbortController();
      const { result } = await run(experiment, dir, {
        signal: controller.signal,
        onStage: (stage, done) => {
          if (stage === where && done >= 2) controller.abort();
        },
      });
      expect(result.complete, where).toBe(false);
      const before = readRun(dir);
      const { result: finished } = await run(experiment, dir);
      expect(finished.complete, where).toBe(true);
      expect(resultsOf(dir), where).toEqual(resultsOf(whole));
      expect(readRun(dir).sessions).toHaveLength(before.sessions.length + 1);
    }
  });

  test('changed settings are refused, with what changed; the batch may change', async () => {
    const experiment = tinyExperiment();
    const dir = experiment.newRun();
    await run(experiment, dir);
    const changed = (change: (config: ExperimentConfig) => object) => {
      const config = JSON.parse(readFileSync(experiment.file, 'utf8')) as ExperimentConfig;
      const file = `${experiment.file}-changed.json`;
      writeFileSync(file, JSON.stringify({ ...config, ...change(config) }));
      return file;
    };
    const other = changed(({ decoding }) => ({ decoding: { ...decoding, k: 3 }, seed: 9 }));
    const error = await errorOf(() => run(experiment, dir, { file: other }));
    expect(error).toMatchObject({ code: 'bad-input' });
    expect(String(error)).toContain('decoding.k was 2, is 3; seed was 0, is 9');
    const faster = changed(() => ({ batch: 5, name: 'other' }));
    expect((await run(experiment, dir, { file: faster })).result.complete).toBe(true);
  });

  test('another model under the same name is refused', async () => {
    const experiment = tinyExperiment();
    const dir = experiment.newRun();
    await run(experiment, dir);
    const config = join(experiment.modelDir, 'generation_config.json');
    writeFileSync(config, '{"eos_token_id": 2}');
    const error = await errorOf(() => run(experiment, dir));
    expect(String(error)).toContain('model_fingerprint was');
  });
});

describe('a server of an evaluator or judge', () => {
  const MODES: [string, readonly judge.Behaviour[]][] = [
    ['that is slow', [judge.slow(20, byLength)]],
    ['with 429 and Retry-After', [judge.rateLimited(), judge.rateLimited(), byLength]],
    ['with errors 500', [judge.serverError(), byLength]],
    ['with broken JSON', [judge.brokenJson, byLength]],
    ['with scores out of range', [judge.says('{"score": 180}'), byLength]],
    ['that refuses', [judge.says('I cannot rate this (policy 2.1).'), byLength]],
    ['that drops connections', [judge.drops, judge.dropsMidway, byLength]],
    ['without structured output', [judge.withoutStructure(byLength)]],
  ];

  test.each(MODES)('%s at times costs nothing in the end', async (_, script) => {
    vi.stubEnv('OPENAI_API_KEY', KEY);
    const server = await judge.judgeServer(...script);
    const spec = openai(server.url, { concurrency: 1 });
    const experiment = tinyExperiment({ evaluator: spec, judge: spec }, 3);
    const dir = experiment.newRun();
    const { result, data } = await run(experiment, dir);
    expect(result).toEqual({ complete: true, failed: {}, judgingStopped: null });
    const [instructed, sda] = summarizeRun(data).comparisons;
    for (const { full } of [instructed!, sda!]) expect(full.judged).toBe(3);
    for (const text of everyFile(dir)) expect(text).not.toContain(KEY);
  });

  test('that never answers well leaves failures, no numbers; they are made up for later', async () => {
    vi.stubEnv('OPENAI_API_KEY', KEY);
    let broken = true;
    const behaviour: judge.Behaviour = (request, response) =>
      (broken ? judge.says('Perhaps 70, perhaps 80?') : byLength)(request, response);
    const server = await judge.judgeServer(behaviour);
    const spec = openai(server.url, { reasks: 0 });
    const experiment = tinyExperiment({ evaluator: spec, judge: spec }, 3);
    const dir = experiment.newRun();
    const first = await run(experiment, dir);
    expect(first.result).toMatchObject({
      complete: true,
      failed: { score: 3, 'respond-sda': 3, 'judge-instructed': 3, 'judge-sda': 3 },
    });
    const summary = summarizeRun(first.data);
    expect(summary.scores).toMatchObject({ count: 0, mean: null, failures: { unparsable: 3 } });
    const [instructed, sda] = summary.comparisons;
    expect(instructed!.full).toMatchObject({ judged: 0, ties: 0, failures: { unparsable: 3 } });
    expect(sda!.full).toMatchObject({ judged: 0, winRate: null, failures: { 'no-score': 3 } });

    broken = false;
    const second = await run(experiment, dir);
    expect(second.result).toEqual({ complete: true, failed: {}, judgingStopped: null });
    const undisturbed = experiment.newRun();
    await run(experiment, undisturbed);
    expect(resultsOf(dir)).toEqual(resultsOf(undisturbed));
  });

  test('that refuses the key while judging stops the judging alone', async () => {
    vi.stubEnv('OPENAI_API_KEY', KEY);
    const server = await judge.judgeServer(byLength, byLength, judge.echoesKey());
    const experiment = tinyExperiment(
      { evaluator: { kind: 'fixed', score: 50 }, judge: openai(server.url, { concurrency: 1 }) },
      3,
    );
    const dir = experiment.newRun();
    const { result, data } = await run(experiment, dir);
    expect(result.complete).toBe(false);
    expect(result.judgingStopped).toMatch(/401|key/i);
    expect(result.judgingStopped).not.toContain(KEY);
    expect(data.responses.get('sda')!.size).toBe(3); // decoding went on
    expect(data.verdicts.get('instructed')!.size).toBe(1);
    for (const text of everyFile(dir)) expect(text).not.toContain(KEY);
  });

  test('that refuses the key while scoring ends the run in a sentence', async () => {
    vi.stubEnv('OPENAI_API_KEY', KEY);
    const server = await judge.judgeServer(judge.unauthorized());
    const experiment = tinyExperiment({ evaluator: openai(server.url) }, 3);
    const dir = experiment.newRun();
    const error = await errorOf(() => run(experiment, dir));
    expect(error).toMatchObject({ code: 'runtime' });
    expect(readRun(dir).responses.get('base')!.size).toBe(3);
  });

  test('is not asked beyond the cost cap', async () => {
    vi.stubEnv('OPENAI_API_KEY', KEY);
    const server = await judge.judgeServer(byLength); // 100 tokens in, 10 out: $120e-6
    const price = { prices: { m: { input: 1, output: 2 } }, cost_cap: 0.0003, concurrency: 1 };
    const evaluator = openai(server.url, price);
    const experiment = tinyExperiment({ evaluator, judge: undefined }, 6);
    const { result, data } = await run(experiment, experiment.newRun());
    expect(server.requests).toHaveLength(3);
    expect(result.failed).toEqual({ score: 3, 'respond-sda': 3 });
    expect(summarizeRun(data).scores.failures).toEqual({ 'cost-cap': 3 });
  });

  test('is not asked beyond the cost cap by later sessions, nor by evaluator and judge together', async () => {
    vi.stubEnv('OPENAI_API_KEY', KEY);
    const server = await judge.judgeServer(byLength); // $120e-6 a question
    const price = { prices: { m: { input: 1, output: 2 } }, cost_cap: 0.0005, concurrency: 1 };
    const spec = openai(server.url, price);
    const experiment = tinyExperiment({ evaluator: spec, judge: spec }, 3);
    const dir = experiment.newRun();
    const { data } = await run(experiment, dir);
    expect(server.requests).toHaveLength(5); // 3 scores, and two of the verdicts' questions
    expect(summarizeRun(data).scores.count).toBe(3);
    await run(experiment, dir);
    expect(server.requests).toHaveLength(5);
    const config = JSON.parse(readFileSync(experiment.file, 'utf8')) as Record<string, object>;
    const more = { ...config, judge: { ...spec, cost_cap: 1 } };
    writeFileSync(experiment.file, JSON.stringify(more));
    expect((await run(experiment, dir)).result.failed).toEqual({});
    expect(server.requests).toHaveLength(3 + 2 * 2 * 3); // what was answered is not asked again
  });

  test.each([
    ['a content filter', { message: 'The prompt was filtered', code: 'content_filter' }],
    ['words that nobody knows', { message: 'No.' }],
  ])(
    'that refuses one item by %s costs that item alone, also when the run goes on',
    async (_, error) => {
      vi.stubEnv('OPENAI_API_KEY', KEY);
      const refuse = judge.fails(400, error);
      const server = await judge.judgeServer((request, response) =>
        (/What is [23]\?/.test(request.body.messages![0]!.content) ? refuse : byLength)(
          request,
          response,
        ),
      );
      const spec = openai(server.url, { concurrency: 1 });
      const experiment = tinyExperiment({ evaluator: spec, judge: spec }, 4);
      const dir = experiment.newRun();
      for (const session of [1, 2]) {
        const { result, data } = await run(experiment, dir);
        expect(result, `session ${session}`).toEqual({
          complete: true,
          failed: { score: 2, 'respond-sda': 2, 'judge-instructed': 2, 'judge-sda': 2 },
          judgingStopped: null,
        });
        expect(data.scores.get('q2')).toMatchObject({
          failure: {
            kind: 'declined',
            reason: expect.stringContaining(error.message.slice(0, -1)),
          },
        });
        const [instructed] = summarizeRun(data).comparisons;
        expect(instructed!.full).toMatchObject({ judged: 2, failures: { declined: 2 } });
      }
    },
  );

  test('that refuses a parameter, of the second item as of the first, ends the run', async () => {
    vi.stubEnv('OPENAI_API_KEY', KEY);
    const bad = judge.fails(400, { message: 'temperature must be 1', param: 'temperature' });
    const server = await judge.judgeServer(bad);
    const evaluator = openai(server.url, { concurrency: 1, temperature: 0 });
    const experiment = tinyExperiment({ evaluator }, 6);
    const error = await errorOf(() => run(experiment, experiment.newRun()));
    expect(String(error)).toContain('answered 400: "temperature must be 1"');
    expect(server.requests.length).toBeLessThanOrEqual(4); // with the schema and without
  });

  test('is needed no more for what it has answered', async () => {
    vi.stubEnv('OPENAI_API_KEY', KEY);
    const server = await judge.judgeServer(byLength);
    const experiment = tinyExperiment(
      { judge: openai(server.url, { cache_dir: temporaryFolder() }) },
      3,
    );
    await run(experiment, experiment.newRun());
    const asked = server.requests.length;
    expect(asked).toBe(2 * 2 * 3); // two methods, both orders
    await run(experiment, experiment.newRun());
    expect(server.requests).toHaveLength(asked);
  });
});

test('a missing key is told before the model is read', async () => {
  vi.stubEnv('OPENAI_API_KEY', '');
  const experiment = tinyExperiment({ judge: { kind: 'openai' } });
  const config = await readConfig(experiment.file);
  const openModel = vi.fn(loadModel);
  const options = { dir: experiment.newRun(), defaultModel: '', openModel };
  const error = await errorOf(() => runExperiment(config, options));
  expect(String(error)).toContain('OPENAI_API_KEY');
  expect(openModel).not.toHaveBeenCalled();
});

function fail(): never {
  throw new Error('there is no response');
}
