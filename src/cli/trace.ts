import { appendFileSync, closeSync, openSync } from 'node:fs';
import { arch, cpus, platform } from 'node:os';
import { messageOf, SdaError } from '../errors.js';
import { choiceJson } from '../generate/json.js';
import type { Rule, RuntimeInfo, StepOf } from '../index.js';
import { packageVersion } from '../runtime/tensorflow.js';

/** Raised when the lines change their form: those of SDA, and those of other rules, which say what the rule says. */
const TRACE_VERSIONS = { sda: 1, rule: 2 } as const;

/** A JSONL file that grows with the answer: a header, then one line a step. */
export class Trace {
  private readonly handle: number;
  private readonly file: string;

  /** @throws SdaError `bad-input` when `file` cannot be written. */
  constructor(file: string) {
    this.file = file;
    this.handle = this.attempt(() => openSync(file, 'w'));
  }

  /** What the steps were made with; `settings` in the form of `sda generate --json`. */
  header(
    model: string,
    settings: object,
    runtime: RuntimeInfo | { readonly engine: string },
  ): void {
    this.line({
      type: 'header',
      trace_version: TRACE_VERSIONS['rule' in settings ? 'rule' : 'sda'],
      sda_tfjs: packageVersion(),
      node: process.version,
      ...('engine' in runtime
        ? { engine: runtime.engine }
        : { tensorflow: runtime.tensorflow, device: runtime.device }),
      machine: `${platform()} ${arch()}, ${cpus().length} x ${cpus()[0]?.model ?? 'unknown CPU'}`,
      model,
      settings,
    });
  }

  /** A line in the form of `sda generate --json`, with the text and the a of SDA. */
  step(step: StepOf<Rule>): void {
    const { step: number, text } = step;
    const a = 'logpBase' in step && 'a' in step ? { a: step.a } : {};
    this.line({ type: 'step', step: number, text, ...choiceJson(step), ...a });
  }

  close(): void {
    closeSync(this.handle);
  }

  private line(value: object): void {
    this.attempt(() => appendFileSync(this.handle, `${JSON.stringify(value)}\n`));
  }

  private attempt<T>(write: () => T): T {
    try {
      return write();
    } catch (error) {
      throw new SdaError(
        'bad-input',
        `The trace file ${this.file} cannot be written (${messageOf(error)}): give --trace another path.`,
        { cause: error },
      );
    }
  }
}
