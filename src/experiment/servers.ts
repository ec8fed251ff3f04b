import { join } from 'node:path';
import type { EvaluatorSpec, JudgeSpec } from '../evaluate/create.js';
import { Ledger } from '../evaluate/ledger.js';
import { STAND_IN, standInAnswers } from '../evaluate/stand-in.js';
import { type JudgeServer, startJudgeServer } from '../evaluate/stub-server.js';
import type { ExperimentConfig } from './config.js';

/** Makes evaluators and judges of a configuration ready: starts the stand-in's server, and names a cache. */
export class Servers {
  private server: JudgeServer | null = null;
  /** What the run has spent, in all of its sessions and by evaluator and judge together */
  readonly ledger: Ledger;

  /** @param dir the run's folder; it keeps what was answered, where the configuration names no other */
  constructor(private readonly dir: string) {
    this.ledger = new Ledger(join(dir, 'spending.jsonl'));
  }

  async evaluator(spec: ExperimentConfig['evaluator']): Promise<EvaluatorSpec> {
    return spec.kind === STAND_IN ? this.standIn() : this.withCache(spec);
  }

  async judge(spec: NonNullable<ExperimentConfig['judge']>): Promise<JudgeSpec> {
    return spec.kind === STAND_IN ? this.standIn() : this.withCache(spec);
  }

  async close(): Promise<void> {
    await this.server?.close();
  }

  private async standIn() {
    this.server ??= await startJudgeServer(standInAnswers);
    return { kind: 'openai', base_url: this.server.url, model: STAND_IN } as const;
  }

  private withCache<T extends { kind: string }>(spec: T): T {
    return spec.kind === 'openai' ? { cache_dir: join(this.dir, 'answers'), ...spec } : spec;
  }
}
