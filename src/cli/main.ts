#!/usr/bin/env node
import { Command } from 'commander';
import type { Rule } from '../index.js';
import { packageVersion, showNotices } from '../runtime/tensorflow.js';
import * as bench from './bench.js';
import * as conformance from './conformance.js';
import * as demo from './demo.js';
import * as doctor from './doctor.js';
import { EXIT_INTERRUPTED, exitCodeOf, reportError } from './failure.js';
import * as generate from './generate.js';
import * as importCommand from './import.js';
import * as inspect from './inspect.js';
import * as logits from './logits.js';
import { exitQuietlyOnClosedPipe } from './output.js';
import * as quantise from './quantise.js';
import * as report from './report.js';
import { askedRule } from './rule-options.js';
import * as rules from './rules.js';
import * as runCommand from './run.js';
import * as score from './score.js';
import * as serve from './serve.js';
import * as setup from './setup.js';
import * as weights from './weights.js';

const COMMANDS = [
  rules,
  demo,
  runCommand,
  report,
  serve,
  score,
  logits,
  inspect,
  importCommand,
  quantise,
  bench,
  conformance,
  setup,
  weights,
  doctor,
];

/**
 * The `sda` program. Commands load what they need when they run, so that `--help` starts nothing.
 *
 * @param rule of `sda generate`, whose settings become its options; default: SDA
 */
function createProgram(rule?: Rule): Command {
  const program = new Command('sda')
    .description('Align an open language model at inference time, without training (SDA).')
    .version(packageVersion(), '-V, --version', 'print the version')
    .option('--debug', 'show where an error comes from, and the notices of TensorFlow and Node')
    .hook('preAction', () => {
      if (program.opts<{ debug?: boolean }>().debug) showNotices();
    })
    .exitOverride() // before the commands, which inherit it
    .showHelpAfterError('(see --help)')
    .addHelpText(
      'after',
      `
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C.

Examples:
  sda demo
  sda generate --query "How do I comfort a friend who failed an exam?" --core empathy
  sda generate --query "Is the earth flat?" --core truthful --score 40 --compare
  sda inspect --model path/to/model`,
    );
  generate.register(program, rule);
  for (const command of COMMANDS) command.register(program);
  return program;
}

async function main(argv: readonly string[]): Promise<void> {
  exitQuietlyOnClosedPipe();
  let program: Command | undefined;
  const fail = (error: unknown) => {
    reportError(error, program?.opts<{ debug?: boolean }>().debug === true);
    process.exitCode = exitCodeOf(error);
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      // commands that end by themselves listen too; of the others, the terminal is left clean
      if (process.listenerCount(signal) === 1) process.exit(EXIT_INTERRUPTED);
    });
  }
  process.on('uncaughtException', (error) => {
    fail(error);
    process.exit();
  });
  try {
    const name = argv.includes('generate') ? askedRule(argv) : undefined;
    program = createProgram(name === undefined ? undefined : await loadRule(name));
    if (argv.length <= 2) program.outputHelp();
    else await program.parseAsync([...argv]);
  } catch (error) {
    fail(error);
  }
  // nothing may hold a stopped process, such as a client's wait before it asks again
  if (process.exitCode === EXIT_INTERRUPTED) process.exit();
}

async function loadRule(name: string): Promise<Rule> {
  const rules = await import('../generate/load-rule.js');
  return rules.loadRule(name);
}

await main(process.argv);
