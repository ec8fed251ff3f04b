import { setMaxListeners } from 'node:events';
import { basename } from 'node:path';
import type { z } from 'zod';
import { textsFingerprint } from '../checkpoint/fingerprint.js';
import { openModel as openAnywhere } from '../engine/open-model.js';
import { DEFAULT_CHAT_MODEL } from '../evaluate/chat-options.js';
import { createEvaluator, createJudge, type EvaluatorSpec } from '../evaluate/create.js';
import { hashOf } from '../evaluate/hash.js';
import type { PairJudge } from '../evaluate/judge.js';
import type { Ledger } from '../evaluate/ledger.js';
import { STAND_IN } from '../evaluate/stand-in.js';
import type { AnsweringModel } from '../generate/answering.js';
import type { LoadOptions, SdaModel } from '../generate/sda-model.js';
import { scoreAll } from './assess.js';
import { decidingSettings, type ExperimentConfig, instructionOf } from './config.js';
import { type DataSet, loadDataSet } from './data/index.js';
import { describeSession, modelFingerprint } from './identity.js';
import { Judging, judgeQuestions } from './judging.js';
import { isSteered } from './method-rules.js';
import { methodsOf, pairingsOf, ruleOf } from './methods.js';
import {
  checkOtherModels,
  OtherModelsOfRun,
  otherFingerprints,
  otherModelsOf,
} from './other-models.js';
import { promptOptions } from './prompt-options.js';
import { checkEngine, modelDirOf, remoteEngine } from './remote-engine.js';
import { respond } from './respond.js';
import {
  type Item,
  type Method,
  type Pairing,
  type Response,
  ROW_SCHEMA,
  type RunHeader,
  type Score,
  type Verdict,
} from './rows.js';
import { decidingRules } from './rules.js';
import { Servers } from './servers.js';
import { type OnProgress, Stage } from './stage.js';
import {
  judgeStage,
  respondStage,
  responseSchema,
  SCORE_STAGE,
  scoreSchema,
  verdictSchema,
} from './stages.js';
import { RunStore } from './store/index.js';

export interface ExperimentOptions {
  /** The run's folder; made where it does not exist */
  readonly dir: string;
  /** The folder of the model where the configuration names none */
  readonly defaultModel: string;
  /** `loadModel`, or the same with its progress shown */
  readonly openModel: (dir: string, options: LoadOptions) => Promise<SdaModel>;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** What is worth knowing and no error, each a sentence */
  readonly onNote?: ((note: string) => void) | undefined;
}

/** How a session of a run ended. */
export interface ExperimentResult {
  /** Every item has a row in every stage */
  readonly complete: boolean;
  /** Failed rows by stage; they are tried again when the run goes on */
  readonly failed: Readonly<Record<string, number>>;
  /** Why judging stopped before its end, where it did */
  readonly judgingStopped: string | null;
}

/**
 * Runs an experiment, or goes on with it: base responses, their scores, the responses of each method, and verdicts on
 * them. What is on disk is never done again; an abort ends it early and loses nothing.
 *
 * @throws SdaError for a configuration, data set, model or folder that cannot be used, before anything is decoded where
 *   possible; `runtime` where the evaluator's server refuses every request
 */
export async function runExperiment(
  config: ExperimentConfig,
  options: ExperimentOptions,
): Promise<ExperimentResult> {
  checkEngine(config);
  const data = await loadDataSet(config.data);
  for (const note of data.notes) options.onNote?.(note);
  const modelDir = await modelDirOf(config, options);
  const header = await headerOf(config, data, modelDir);
  await checkOtherModels(config, modelDir);
  const servers = new Servers(options.dir);
  if (options.signal) setMaxListeners(0, options.signal); // several for each request under way
  try {
    // keys and options are checked before the model is read
    const { ledger } = servers;
    const judge = config.judge && (await createJudge(await servers.judge(config.judge), ledger));
    const evaluator = await servers.evaluator(config.evaluator);
    if (evaluator.kind !== 'intrinsic') await createEvaluator(evaluator);
    const session = await describeSession({ batch: config.batch });
    const store = RunStore.open(options.dir, header, session, data.items);
    try {
      const experiment = new Experiment(config, options, data.items, store, modelDir);
      return await experiment.run(evaluator, judge ?? null, ledger);
    } finally {
      store.close();
    }
  } finally {
    await servers.close();
  }
}

async function headerOf(
  config: ExperimentConfig,
  data: DataSet,
  modelDir: string,
): Promise<RunHeader> {
  const { name, core, evaluator, judge, seed } = config;
  const fingerprint = remoteEngine(config)
    ? await textsFingerprint(modelDir)
    : await modelFingerprint(modelDir, config.model.adapters);
  const dataSet = { name: data.name, items: data.items.length, sha256: data.sha256 };
  const aligner = config.aligner && (await modelFingerprint(config.aligner.dir));
  const settings = decidingSettings(config);
  const others = await otherFingerprints(otherModelsOf(config));
  const deciding = {
    ...settings,
    model_fingerprint: fingerprint,
    ...(Object.keys(others).length > 0 && { models_fingerprints: others }),
    ...(aligner && { aligner_fingerprint: aligner }),
    data_sha256: data.sha256,
  };
  const told = (spec: { kind: string; model?: string | undefined }) =>
    spec.kind === 'openai' ? `openai ${spec.model ?? DEFAULT_CHAT_MODEL}` : spec.kind;
  return {
    schema: ROW_SCHEMA,
    name,
    config: deciding,
    configHash: hashOf(deciding),
    model: { name: basename(modelDir), dtype: config.model.dtype, fingerprint },
    dataSet,
    core,
    instruction: instructionOf(config),
    methods: methodsOf(config),
    ...(config.rules && { rules: methodRules(config) }),
    comparisons: pairingsOf(config),
    evaluator: told(evaluator),
    judge: judge ? told(judge) : null,
    standIn: evaluator.kind === STAND_IN || judge?.kind === STAND_IN,
    seed,
  };
}

/** The methods that are rules, with all their settings. */
function methodRules(config: ExperimentConfig): RunHeader['rules'] {
  const whole = Object.entries(decidingRules(config));
  return Object.fromEntries(whole.map(([name, { rule, settings }]) => [name, { rule, settings }]));
}

class Experiment {
  private model: SdaModel | null = null;
  /** What decodes, where that is behind a server */
  private remote: AnsweringModel | null = null;
  private readonly others: OtherModelsOfRun;
  private readonly stages: Pick<Stage<unknown>, 'name' | 'failed' | 'full'>[] = [];

  constructor(
    private readonly config: ExperimentConfig,
    private readonly options: ExperimentOptions,
    private readonly items: readonly Item[],
    private readonly store: RunStore,
    private readonly modelDir: string,
  ) {
    this.others = new OtherModelsOfRun(config, options.openModel);
  }

  async run(
    evaluator: EvaluatorSpec,
    judge: PairJudge | null,
    ledger: Ledger,
  ): Promise<ExperimentResult> {
    const { signal } = this.options;
    const responses = new Map(
      methodsOf(this.config).map((method) => [
        method,
        this.open(respondStage(method), responseSchema),
      ]),
    );
    const [...methods] = responses.keys();
    const scores = methods.some((method) => isSteered(method, ruleOf(this.config, method)))
      ? this.open(SCORE_STAGE, scoreSchema)
      : undefined;
    const comparisons = judge ? pairingsOf(this.config).map((each) => this.comparison(each)) : [];
    this.tellQuestions(comparisons);
    const judging = new Judging(judge, this.config, responses, signal);
    try {
      for (const [index, method] of methods.entries()) {
        if (signal?.aborted) break;
        await this.respondAll(method, responses, scores);
        if (method === 'base' && scores && !signal?.aborted) {
          await this.score(evaluator, ledger, responses.get('base')!, scores);
        }
        if (signal?.aborted) break;
        for (const { pairing, verdicts } of comparisons) {
          const sides = [pairing.method, pairing.against].map((side) => methods.indexOf(side));
          if (Math.max(...sides) === index) judging.add(pairing, verdicts);
        }
      }
      await judging.end();
    } finally {
      await judging.end().catch(() => {}); // what it could still write before the files are closed
      this.model?.dispose();
      this.remote?.dispose();
      this.others.dispose();
    }
    const failed = this.stages
      .map((stage) => [stage.name, stage.failed()] as const)
      .filter(([, count]) => count > 0);
    const full = this.stages.every((stage) => stage.full());
    const { stopped } = judging;
    const complete = !signal?.aborted && stopped === null && full;
    return { complete, failed: Object.fromEntries(failed), judgingStopped: stopped };
  }

  private async score(
    spec: EvaluatorSpec,
    ledger: Ledger,
    base: Stage<Response>,
    scores: Stage<Score>,
  ): Promise<void> {
    const { config } = this;
    const { signal } = this.options;
    await scores.fill(async (items, onRow) => {
      const model = spec.kind === 'intrinsic' ? await this.openModel() : undefined;
      const evaluator = await createEvaluator(spec, model, promptOptions(config), ledger);
      const concurrency = spec.kind === 'openai' ? (spec.concurrency ?? 4) : 1;
      const input = { config, items, signal, onRow };
      await scoreAll(evaluator, base.rows(), input, concurrency);
    });
  }

  private async respondAll(
    method: Method,
    responses: ReadonlyMap<Method, Stage<Response>>,
    scores?: Stage<Score>,
  ): Promise<void> {
    const { config } = this;
    const { signal } = this.options;
    await responses.get(method)!.fill(async (items, onRow, onTokens) => {
      const model = method === 'aligner' ? await this.openAligner() : await this.openDecoding();
      const models = await this.others.of(ruleOf(config, method));
      const earlier = { base: responses.get('base')!.rows(), scores: scores?.rows() };
      await respond({ method, config, items, model, models, ...earlier, signal, onRow, onTokens });
    });
  }

  private open<T>(name: string, schema: z.ZodType<T>): Stage<T> {
    const file = this.store.stage(name, schema);
    const stage = new Stage(name, file, this.items, this.options.onProgress);
    this.stages.push(stage);
    return stage;
  }

  private comparison(pairing: Pairing): { pairing: Pairing; verdicts: Stage<Verdict> } {
    return { pairing, verdicts: this.open(judgeStage(pairing), verdictSchema) };
  }

  /** How often the judge is asked at most, before it is. */
  private tellQuestions(comparisons: readonly { verdicts: Stage<Verdict> }[]): void {
    const pairs = comparisons.reduce((sum, { verdicts }) => sum + verdicts.pending().length, 0);
    if (pairs > 0) this.options.onNote?.(judgeQuestions(pairs));
  }

  /** What decodes: the base model here, or behind the server that the configuration names. */
  private async openDecoding(): Promise<AnsweringModel> {
    const { model } = this.config;
    const engine = remoteEngine(this.config);
    if (!engine) return this.openModel();
    if (this.remote) return this.remote;
    this.remote = await openAnywhere(this.modelDir, {
      engine,
      maxContext: model.context,
      chatTemplate: model.chat_template,
      signal: this.options.signal,
    });
    for (const warning of this.remote.warnings) this.options.onNote?.(warning);
    return this.remote;
  }

  /** The base model on this machine, loaded when first needed. */
  private async openModel(): Promise<SdaModel> {
    if (this.model) return this.model;
    const { dtype, kv, context, chat_template, tie_missing_head, adapters } = this.config.model;
    this.model = await this.options.openModel(this.modelDir, {
      dtype,
      kv,
      maxContext: context,
      chatTemplate: chat_template,
      tieMissingHead: tie_missing_head,
      adapters,
    });
    return this.model;
  }

  /** In place of the base model, which is not needed any more: `aligner` is the last method. */
  private async openAligner(): Promise<SdaModel> {
    this.model?.dispose();
    this.model = null;
    this.others.dispose();
    const { dir, dtype, kv, context } = this.config.aligner!;
    this.model = await this.options.openModel(dir, { dtype, kv, maxContext: context });
    return this.model;
  }
}
