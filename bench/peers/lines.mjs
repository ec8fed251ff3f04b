/** One side of the talk between run.mjs and its workers: a JSON object a line. Answers start with "@". */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** Serves requests on standard input: `loops` has a function a loop, which gets the request. */
export async function serve(version, loops) {
  const answer = (value) => process.stdout.write(`@${JSON.stringify(value)}\n`);
  answer({ version });
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    try {
      answer(await loops[request.loop](request));
    } catch (error) {
      answer({ error: String(error?.message ?? error).split('\n', 1)[0] });
    }
  }
}

/** A program that answers requests one at a time. */
export class Worker {
  #child;
  #waiting = null;
  #errors = '';
  #ended = null;

  constructor(command, args, env = {}) {
    this.#child = spawn(command, args, { env: { ...process.env, ...env } });
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      if (line.startsWith('@')) this.#settle(JSON.parse(line.slice(1)));
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text) => {
      this.#errors = (this.#errors + text).slice(-4000);
    });
    this.#child.stdin.on('error', () => {}); // its end is reported by "close"
    this.#child.on('error', (error) => this.#end(error.message));
    this.#child.on('close', (code, signal) => {
      const last = this.#errors.trim().split('\n').at(-1);
      this.#end(last || `ended with ${signal ?? `exit code ${code}`}`);
    });
  }

  /** The first answer, which says that the worker is ready. */
  ready(seconds) {
    return this.#next(seconds);
  }

  /** @returns the answer; an `error` in it is thrown. */
  ask(request, seconds) {
    if (this.#ended === null) this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    return this.#next(seconds);
  }

  stop() {
    this.#child.kill('SIGKILL');
  }

  #next(seconds) {
    if (this.#ended !== null) return Promise.reject(new Error(this.#ended));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#end(`no answer within ${seconds} s`);
        this.stop();
      }, seconds * 1000);
      this.#waiting = (value) => {
        clearTimeout(timer);
        if (value.error === undefined) resolve(value);
        else reject(new Error(value.error));
      };
    });
  }

  #settle(value) {
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.(value);
  }

  #end(reason) {
    this.#ended ??= reason;
    this.#settle({ error: this.#ended });
  }
}
