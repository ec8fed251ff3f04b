import { appendFileSync, closeSync, openSync } from 'node:fs';
import { arch, cpus, platform } from 'node:os';
import { messageOf, SdaError } from '../errors.js';
import type { GenerateStep, RuntimeInfo } from '../index.js';
import { packageVersion } from '../runtime/tensorflow.js';

/** Raised when the lines change their form. */
const TRACE_VERSION = 1;

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
  header(model: string, settings: object, runtime: RuntimeInfo): void {
    this.line({
      type: 'header',
      trace_version: TRACE_VERSION,
      sda_tfjs: packageVersion(),
      node: process.version,
      tensorflow: runtime.tensorflow,
      device: runtime.device,
      machine: `${platform()} ${arch()}, ${cpus().length} x ${cpus()[0]?.model ?? 'unknown CPU'}`,
      model,
      settings,
    });
  }

  step({ step, id, text, js, temperature, a, logpBase, logpInstructed, logp }: GenerateStep): void {
    this.line({
      type: 'step',
      step,
      id,
      text,
      js,
      temperature,
      a,
      logp_base: logpBase,
      logp_instructed: logpInstructed,
      logp,
    });
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
