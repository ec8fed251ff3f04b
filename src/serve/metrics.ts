import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { SdaEngine } from '../generate/engine.js';

/** Seconds */
const BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** What `/metrics` says, in the text form of Prometheus. */
export class Metrics {
  readonly registry = new Registry();
  private readonly requests = new Counter({
    name: 'sda_requests_total',
    help: 'Requests by route and status',
    labelNames: ['route', 'status'],
    registers: [this.registry],
  });
  private readonly tokens = new Counter({
    name: 'sda_tokens_total',
    help: 'Tokens of prompts, and of answers',
    labelNames: ['kind'],
    registers: [this.registry],
  });
  private readonly firstToken = new Histogram({
    name: 'sda_first_token_seconds',
    help: 'From a request to the first token of each answer',
    buckets: BUCKETS,
    registers: [this.registry],
  });
  private readonly duration = new Histogram({
    name: 'sda_request_seconds',
    help: 'From a request to the end of its answer',
    labelNames: ['route'],
    buckets: BUCKETS,
    registers: [this.registry],
  });

  constructor(engine: Pick<SdaEngine, 'load'>) {
    collectDefaultMetrics({ register: this.registry });
    for (const state of ['waiting', 'running'] as const) {
      new Gauge({
        name: `sda_answers_${state}`,
        help: `Answers that are ${state} now`,
        registers: [this.registry],
        collect() {
          this.set(engine.load[state]);
        },
      });
    }
  }

  request(route: string, status: number, ms: number): void {
    this.requests.inc({ route, status: String(status) });
    this.duration.observe({ route }, ms / 1000);
  }

  answered(promptTokens: number, tokens: number): void {
    this.tokens.inc({ kind: 'prompt' }, promptTokens);
    this.tokens.inc({ kind: 'completion' }, tokens);
  }

  began(ms: number): void {
    this.firstToken.observe(ms / 1000);
  }
}
